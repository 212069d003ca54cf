"""Priority: who goes first, and who steps back."""

import os
import threading

import pytest

from modelfs.priority import ANSWERING_NICE, Priority


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may go first")
def test_who_answers_goes_before_the_threads_that_it_starts() -> None:
    seen: dict[str, int] = {}

    def answer() -> None:
        own = seen["own"] = nice()
        priority = Priority()
        priority.answer_first()
        seen["answering"] = nice()

        def work() -> None:
            seen["started"] = nice()
            priority.work()
            seen["working"] = nice()

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        assert own == nice() - ANSWERING_NICE

    thread = threading.Thread(target=answer)  # the test's own thread keeps its place
    thread.start()
    thread.join()
    assert seen["answering"] == seen["started"] == seen["own"] + ANSWERING_NICE
    assert seen["working"] == seen["own"]
