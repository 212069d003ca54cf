"""Triton's credential file, which ``TRITON_CLOUD_CREDENTIAL_PATH`` names: who modelfs is to each store.

Law: where the variable is set, the environment's own credentials are not used. The entry with the longest name that the
URL begins with wins; missing fields are empty, unknown ones ignored. All as in Triton, but for two things: a name ends
at a "/" of the URL (Triton compares characters, so that "s3://b" is also the entry of "s3://b-2", another's bucket),
and the file is read again when it changes (Triton never does).

No value of the file gets into a message. Source: Triton's ``src/filesystem/api.cc``.
"""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelfs import location as locations
from modelfs.credential_files import Stamp, check_writers, open_file, stamp
from modelfs.errors import ModelfsError, UsageError
from modelfs.location import Location

log = logging.getLogger(__name__)

VARIABLE = "TRITON_CLOUD_CREDENTIAL_PATH"

_FIELDS = {
    "gs": ("path",),
    "s3": ("secret_key", "key_id", "region", "session_token", "profile"),
    "as": ("account_str", "account_key", "auth_type", "client_id"),
}
"""What an entry may hold. In the file one of "gs" is a plain string: the path of a key file."""

_FILE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """What the file says for one URL. ``fields`` has all of the section's, each a string; those hold secrets."""

    name: str
    fields: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> str:
        """Return one field, "" where the file has none."""
        return self.fields[name]


class CredentialFile:
    """The entry of one location, of now. Thread-safe."""

    def __init__(self, path: Path, location: Location) -> None:
        """Read the file. Raises UsageError when it cannot be used."""
        self.path = path
        self._location = location
        self._lock = threading.Lock()
        self._stamp: Stamp | None = stamp(path)
        self._entry = self._read()

    def __call__(self) -> Entry:
        """Return the entry as the file has it now; as it was, when the file has become unusable."""
        with self._lock:
            now = stamp(self.path)
            if now != self._stamp:
                self._stamp = now
                try:
                    self._entry = self._read()
                except ModelfsError as error:
                    log.warning("going on with the old credentials error=%s", error)
            return self._entry

    def _read(self) -> Entry:
        check_writers(self.path)
        try:
            with open_file(self.path) as file:
                text = file.read(_FILE_BYTES_MAX + 1)
        except OSError as error:
            raise UsageError(f"{VARIABLE}={self.path} cannot be read: {error.strerror}") from error
        if len(text) > _FILE_BYTES_MAX:
            raise UsageError(f"{VARIABLE}={self.path} is larger than {_FILE_BYTES_MAX} bytes: name the right file")
        try:
            entry = choose(text, self._location)
        except _SenselessError as error:
            raise UsageError(f"{VARIABLE}={self.path} {error}") from None  # a cause would quote the file
        if entry.fields.get("path"):
            # beside the file, where Triton would look in the folder that it happens to run in
            entry = replace(entry, fields={"path": str(self.path.parent / entry["path"])})
        log.info("credentials of file=%s section=%s entry=%r", self.path, self._location.scheme, entry.name)
        return entry


def find_file(location: Location, environment: Mapping[str, str]) -> CredentialFile | None:
    """Return the credential file that ``environment`` names, for ``location``; None when it names none.

    Raises UsageError when the file cannot be used or has no entry for ``location``.
    """
    path = Path(environment.get(VARIABLE, "").strip())
    if path == Path() or location.scheme not in _FIELDS:
        return None
    if not path.is_absolute():
        raise UsageError(f"{VARIABLE}={path} is not an absolute path: the mount's process runs in another folder")
    return CredentialFile(path, location)


class _SenselessError(Exception):
    """The file is not as it must be. The message goes on after the file's name, and holds no secret."""


def choose(text: bytes, location: Location) -> Entry:
    """Return the entry of ``location`` in the file's ``text``. Raises _SenselessError."""
    try:
        table = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        where = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise _SenselessError(f"is not JSON{where}: correct it") from None
    section = table.get(location.scheme, {}) if isinstance(table, dict) else None
    if not isinstance(section, dict):
        raise _SenselessError(
            f'must be a JSON object with objects "s3", "gs" and "as" in it; "{location.scheme}" is not'
        )
    spellings = list(_spellings(location))
    matching = [name for name in section if _covers(_plain(name), spellings)]
    if not matching:
        raise _SenselessError(
            f'has no entry for {location.display}: add one named "" to "{location.scheme}", or one that the URL'
            " begins with"
        )
    name = max(matching, key=lambda name: (len(_plain(name)), len(name)))
    return Entry(name.partition("?")[0], _fields(section[name], location.scheme))


def _fields(value: Any, scheme: str) -> dict[str, str]:
    if scheme == "gs":
        value = {"path": value}
    if not isinstance(value, dict):
        raise _SenselessError(f'has an entry in "{scheme}" that is not an object: correct it')
    found = {name: value.get(name) or "" for name in _FIELDS[scheme]}
    for name, text in found.items():
        if not isinstance(text, str):
            raise _SenselessError(f'has an entry in "{scheme}" whose {name} is not a string: correct it')
    # those from a Kubernetes secret often end in a newline
    return {name: text.strip() for name, text in found.items()}


def _spellings(location: Location) -> Iterator[str]:
    """Yield how a person may have written ``location``."""
    yield location.display.partition("?")[0]
    if location.scheme == "as" and location.account:
        parts = (location.account, location.bucket, location.prefix)
        yield "as://" + "/".join(part for part in parts if part)


def _plain(name: str) -> str:
    """Return an entry's name as ``Location.display`` would spell it; "" for one that is the whole cloud."""
    try:
        return locations.parse(name).display.partition("?")[0]
    except UsageError:  # a name may stop before the bucket
        scheme, _, rest = name.partition("?")[0].partition("://")
        rest = rest.removeprefix("http://") if scheme == "s3" else rest
        tidy = "/".join(part for part in rest.replace("://", ":\0").split("/") if part).replace(":\0", "://")
        return f"{scheme}://{tidy}" if tidy else ""


def _covers(name: str, spellings: list[str]) -> bool:
    return not name or any(url == name or url.startswith(f"{name}/") for url in spellings)
