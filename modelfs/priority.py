"""Which of our threads the kernel runs first where there are more than cores.

Law: the thread that answers the kernel goes before those that fetch and push, since a stat must not wait for data. What
is not allowed is left as it is, without a word: it is a matter of milliseconds.

A nice value is a thread's own in Linux, and the threads that it starts inherit it: so those that work take theirs back.
"""

import os
import threading
from contextlib import suppress

ANSWERING_NICE = -5
"""Relative to the process's own."""

_this_thread = threading.local()


class Priority:
    """The nice values of one process. Thread-safe."""

    def __init__(self) -> None:
        """Take the calling thread's nice value for the process's own."""
        self._own = os.getpriority(os.PRIO_PROCESS, 0)

    def answer_first(self) -> None:
        """Put the calling thread before all others of ours."""
        with suppress(OSError):  # it takes CAP_SYS_NICE
            os.setpriority(os.PRIO_PROCESS, 0, self._own + ANSWERING_NICE)

    def work(self) -> None:
        """Put the calling thread, which was started by one that goes first, back in its place."""
        if not getattr(_this_thread, "is_back", False):
            _this_thread.is_back = True
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, self._own)
