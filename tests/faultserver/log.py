"""The request log, which tests count.

Law: a request is in the log before its first byte is answered, so a client that has its answer finds it there. Status
and bytes follow when they are known; ``wait_until_idle`` makes them final.
"""

import threading
import time
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["list", "get", "head", "put", "delete", "uploads", "other", "bad"]


@dataclass(frozen=True, slots=True)
class Record:
    """One request. ``page`` counts a listing's pages from 1 and is 0 otherwise; ``range`` is the header as sent.

    ``status`` is None until the answer begins, and where there never is one; ``bytes_sent`` counts the body only.
    """

    number: int
    method: str
    kind: Kind
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    range: str | None
    page: int
    time_s: float
    status: int | None = None
    bytes_sent: int = 0


class Log:
    """The records since the last clear. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._records: dict[int, Record] = {}
        self._in_flight: set[int] = set()
        self._next = 1

    def begin(
        self,
        *,
        method: str,
        kind: Kind,
        bucket: str = "",
        key: str = "",
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        page: int = 0,
    ) -> Record:
        """Add a request that has just arrived."""
        headers = headers or {}
        with self._changed:
            record = Record(
                self._next, method, kind, bucket, key, query or {}, headers, headers.get("range"), page, time.time()
            )
            self._next += 1
            self._records[record.number] = record
            self._in_flight.add(record.number)
            return record

    def answered(self, number: int, status: int) -> None:
        """Note the status, before it is sent."""
        with self._changed:
            if number in self._records:
                self._records[number] = replace(self._records[number], status=status)

    def end(self, number: int, bytes_sent: int) -> None:
        """Note that the request is over, however it ended."""
        with self._changed:
            if number in self._records:
                self._records[number] = replace(self._records[number], bytes_sent=bytes_sent)
            self._in_flight.discard(number)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget all records; requests in flight do not come back."""
        with self._changed:
            self._records.clear()

    def records(self) -> list[Record]:
        """Return the records in the order of arrival."""
        with self._changed:
            return list(self._records.values())

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no request is in flight, and return whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._in_flight, timeout_s)
