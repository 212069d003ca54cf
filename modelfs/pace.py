"""How many requests at once are worth it, found by trying.

Law: pure; the caller brings the time. The number of prefetches at once is doubled as long as readers wait for bytes and
the last doubling made more of them arrive; one that brought nothing is taken back. After a while it is tried again,
since links and stores change.

What arrives is told by how fast each request was, times how many ran beside it, and not by how much landed in a while:
that depends on the reader and on where a fetch of 8 MiB happens to end, and misled (seen).

Why: one connection of a cloud gives some 90 MB/s and answers after 15 to 100 ms, so 600 MB/s want ten at once. On a
loopback link four do, and every further one only costs memory. TCP's slow start is the model.
"""

import math

FIRST = 8
FIRST_FAR = 24
FAR_S = 0.015
"""A store whose small answers take longer is behind a network, where many at once cost nothing: with 16, a link of
600 MB/s and 100 ms was filled to 0.78, and with 24 to 0.92 (simulated). A store of the same machine answers a megabyte
in 2 ms."""

SMALL_BYTES = 1024 * 1024
"""A request of less tells of the distance, not of the rate."""

GAIN = 1.15
"""What a doubling must bring to be kept: noise brings 5 to 10 %, a link with room 60 to 100."""

SAMPLES = 6
AGAIN_S = 10.0
UNIT_S = 0.5
"""How long one fetch should take at most: on a slow link units are smaller, and the first bytes come sooner."""

FAR_UNIT_BYTES = 4 * 1024 * 1024
"""The most that one fetch asks a far store for. Requests that are sent together share the link and end together, and
then the link is idle until the next are answered: fetches of 8 MiB, within the same memory, filled 0.87 of 600 MB/s at
30 ms, and those of 4 MiB 0.98 (simulated)."""


class Pace:
    """The number of prefetches at once, between ``least`` and ``most``."""

    def __init__(self, *, least: int, most: int, fastest_answer_s: float = math.inf) -> None:
        """Begin with FIRST, or what the bounds allow. ``fastest_answer_s`` was seen before."""
        self._most = max(1, most)
        self.limit = max(1, min(least, most), min(FIRST, self._most))
        self._best = self.limit
        self._best_rate = 0.0
        self._is_trying = True
        self._fastest_s = fastest_answer_s
        self._is_far = False
        self._changed_s = 0.0
        self._starved = False
        self._samples = 0
        self._bytes = 0
        self._seconds = 0.0
        self._alongside = 0.0
        self._connection_rate = 0.0

    @property
    def unit_bytes_max(self) -> int:
        """The most that one fetch should ask for, of this store and at the measured rate of a connection."""
        most_bytes = FAR_UNIT_BYTES if self._is_far else 1 << 62
        return min(most_bytes, int(self._connection_rate * UNIT_S)) if self._connection_rate else most_bytes

    def starve(self) -> None:
        """Take note that a reader waits for bytes that are on their way."""
        self._starved = True

    def land(self, length: int, *, began_s: float, now_s: float, alongside: float) -> None:
        """Take note of ``length`` bytes, asked for at ``began_s``, and arrived now.

        ``alongside`` requests were on their way meanwhile, this one among them: the mean over that time.
        """
        took_s = max(now_s - began_s, 1e-6)
        self._look_how_far(length, took_s, now_s)
        if length <= SMALL_BYTES:
            if not self._connection_rate and length > SMALL_BYTES // 2:
                self._connection_rate = length / took_s  # too low by the distance, but soon put right
            return
        self._connection_rate += (length / took_s - self._connection_rate) * (0.2 if self._connection_rate else 1.0)
        if began_s < self._changed_s:
            return
        self._samples += 1
        self._bytes += length
        self._seconds += took_s
        self._alongside += alongside
        if self._samples >= max(SAMPLES, self.limit // 2):
            alongside_mean = self._alongside / self._samples
            # fewer at once than there may be tell nothing of the limit
            if self._starved and alongside_mean > 0.7 * self.limit:
                self._judge(self._bytes / self._seconds * alongside_mean, now_s)
            self._forget()

    def _look_how_far(self, length: int, took_s: float, now_s: float) -> None:
        """Tell a far store by its first small answer, but a near one by any that was fast: machines can be busy."""
        self._fastest_s = min(self._fastest_s, took_s)
        if self._is_far and self._fastest_s <= FAR_S:
            self._is_far = False
            self._best_rate = 0.0
            self._begin(FIRST, now_s)
        elif length <= SMALL_BYTES and self._fastest_s > FAR_S and not self._is_far and not self._best_rate:
            self._is_far = True
            self._begin(max(self.limit, FIRST_FAR), now_s)

    def _begin(self, limit: int, now_s: float) -> None:
        self._is_trying = True
        self._change(max(1, min(limit, self._most)), now_s)
        self._best = self.limit

    def _judge(self, rate: float, now_s: float) -> None:
        if not self._is_trying:
            if now_s - self._changed_s < AGAIN_S:
                return
            self._is_trying = True
        elif rate <= self._best_rate * GAIN:
            self._is_trying = False
            self._change(self._best, now_s)
            return
        self._best, self._best_rate = self.limit, rate
        if self.limit == self._most:
            self._is_trying = False
        self._change(min(self._most, self.limit * 2), now_s)

    def _change(self, limit: int, now_s: float) -> None:
        self.limit = limit
        self._changed_s = now_s
        self._forget()

    def _forget(self) -> None:
        self._samples = self._bytes = 0
        self._seconds = self._alongside = 0.0
        self._starved = False
