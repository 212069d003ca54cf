"""Gives every process that finds this folder in PYTHONPATH a Streamer with a bug: it cannot read a file named "bad"."""

import sys

if any("modelfs.worker" in argument for argument in sys.orig_argv):
    from modelfs.streamer import Streamer

    _read = Streamer.read

    async def read(self: Streamer, offset: int, length: int) -> memoryview | bytes:
        """Fail as no handler expects."""
        if self.info.key.endswith("bad"):
            raise ZeroDivisionError("a bug, on purpose")
        return await _read(self, offset, length)

    Streamer.read = read  # type: ignore[method-assign]
