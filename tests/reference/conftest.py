"""The profile with which the reference model runs for long, on purpose."""

from hypothesis import settings

settings.register_profile("long", max_examples=1000, stateful_step_count=50, deadline=None)
