"""Operations without FUSE against the reference model: some thousand steps, or 40,000 on purpose.

    pytest tests/reference --hypothesis-profile=long -s

(the folder must be named: its conftest.py holds the profile).
"""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from reference.machine import ReferenceMachine
from reference.mounted_store import steps

IN_CI = settings(max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
LONG_STEPS = 10_000


def test_every_answer_is_what_the_model_says_whatever_the_store_the_kernel_and_the_network_do() -> None:
    is_long = settings.get_current_profile_name() == "long"
    chosen = settings(settings.get_profile("long"), suppress_health_check=list(HealthCheck)) if is_long else IN_CI
    steps.clear()
    run_state_machine_as_test(ReferenceMachine, settings=chosen)
    print(f"\nsteps={steps.total()} of which {dict(steps)}")
    assert steps.total() >= (LONG_STEPS if is_long else 1000)
