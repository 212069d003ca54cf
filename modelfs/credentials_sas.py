"""A SAS that stands in a file, so that a living mount can be given a new one before the old one ends.

Law: as for every credential file: the path is followed at each request, links included, and root takes none that others
can write. While the file is unusable, the token of before is used on. Nothing of it gets into a message.
"""

import logging
import threading
import time
from pathlib import Path

from modelfs.azure_signing import AzureSas
from modelfs.credential_files import Stamp, check_writers, open_file, stamp
from modelfs.errors import ModelfsError, UsageError
from modelfs.location import parse_azure_token

log = logging.getLogger(__name__)

_FILE_BYTES_MAX = 64 * 1024
_SOON_S = 24 * 3600.0


class SasFile:
    """The SAS of a file, of now. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises UsageError when it cannot be used."""
        self.path = path
        self._lock = threading.Lock()
        self._stamp: Stamp | None = stamp(path)
        self._sas = self._read()

    def __call__(self) -> AzureSas:
        """Return the token as the file has it now; as it was, when the file has become unusable."""
        with self._lock:
            now = stamp(self.path)
            if now != self._stamp:
                self._stamp = now
                try:
                    self._sas = self._read()
                except ModelfsError as error:
                    log.warning("going on with the old SAS error=%s", error)
            return self._sas

    def _read(self) -> AzureSas:
        check_writers(self.path)
        try:
            with open_file(self.path) as file:
                text = file.read(_FILE_BYTES_MAX)
        except OSError as error:
            raise UsageError(f"the SAS file {self.path} cannot be read: {error.strerror}") from error
        sas = parse_sas(text.decode("utf-8-sig", "replace").strip(), f"the content of {self.path}")
        tell_expiry(f"the SAS of {self.path}", sas.expires_at, "write a new one into the file")
        return sas


def parse_sas(text: str, name: str) -> AzureSas:
    """Return the token that ``text`` is, also with "?" or quotes around it. Raises UsageError, which tells ``name``."""
    sas = AzureSas.of(parse_azure_token(text))
    if sas is None:
        raise UsageError(f"{name} is no SAS token (it has no sig=): copy it whole, and quote it where a shell reads it")
    return sas


def tell_expiry(kind: str, expires_at: float | None, advice: str) -> None:
    """Log when a SAS ends, as a warning on its last day. ``advice`` says how it is replaced."""
    if expires_at is None:
        return
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))
    level = logging.WARNING if expires_at - time.time() < _SOON_S else logging.INFO
    log.log(level, "the SAS ends; %s before that credentials=%r expires=%s", advice, kind, date)
