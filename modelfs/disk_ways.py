"""Which of two ways to read large pieces from a disk is faster here, found by trying.

Law: pure; the caller brings the times. Direct reads cost a fifth of the CPU, so they come first, and buffered ones must
be faster by GAIN to be taken. After a while the other way is tried again.

Why at all: past the page cache is the faster way on most machines, and where it was measured here it was not: a virtual
disk gave 1.2 to 1.8 GB/s into any memory of a program's own, at any size and depth, and 2.5 GB/s into the page cache.
"""

GAIN = 1.15
SAMPLES = 4
AGAIN = 64
_SMOOTHING = 0.3


class Ways:
    """The rates of direct and of buffered reads. For use by several threads: a lost sample is no harm."""

    def __init__(self) -> None:
        """Know nothing."""
        self._rates = {True: 0.0, False: 0.0}  # bytes in a second, by whether it is direct
        self._samples = {True: 0, False: 0}
        self._since = 0  # reads since the slower way was tried

    def is_direct(self) -> bool:
        """Return which way the next read should go."""
        for way in (True, False):
            if self._samples[way] < SAMPLES:
                return way
        best = self._rates[False] < self._rates[True] * GAIN
        return best if self._since < AGAIN else not best

    def note(self, length: int, took_s: float, *, is_direct: bool) -> None:
        """Take note of how long a read of ``length`` bytes took."""
        rate = length / max(took_s, 1e-9)
        smoothing = _SMOOTHING if self._samples[is_direct] else 1.0
        self._rates[is_direct] += (rate - self._rates[is_direct]) * smoothing
        self._samples[is_direct] += 1
        best = self._rates[False] < self._rates[True] * GAIN
        self._since = self._since + 1 if is_direct == best or self._since < AGAIN else 0
