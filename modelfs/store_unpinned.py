"""The engine for every other URL: what fsspec has a driver for, and what cannot be pinned to a version.

Law: bytes are compared with the version that was listed as well as the driver lets us, and never silently short. A
folder that cannot be listed is an error, never an empty folder.

A version is what the listing tells of a file: checksums, its time, its size. HTTP compares it with the headers of the
very answer that brings the bytes. For all other drivers the file is looked at again *after* each read: what is then
still as it was listed was so during the read. (A look before it, which costs the same, would miss a replacement in
between.) What neither time nor checksum tells, and a file that is rewritten while it is read, goes unnoticed: that is
what ``--allow-unpinned`` allows.

Folders are listed one by one, some at a time, with the driver's ``ls``. Its ``find`` was rejected: it leaves out
folders that fail, so that an outage of a moment would look like a deletion. Where ``ls`` tells no size (HTTP has only
links), each file is asked for it.

Most drivers are not thread-safe, so each instance serves one thread at a time; one that failed is thrown away, and its
connection with it.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlsplit

import fsspec
from fsspec.registry import available_protocols, get_filesystem_class

from modelfs import unpinned_times
from modelfs.blocks import ObjectInfo
from modelfs.errors import CorruptAnswerError, ModelfsError, ObjectNotFoundError, UsageError, VersionGoneError
from modelfs.location import FORMS, Location
from modelfs.store import Facts, Omissions, Page
from modelfs.unpinned_errors import from_driver, missing_package

_FOLDERS_A_PAGE = 32
_AT_ONCE = 8
"""Requests of one listing. An SSH server refuses some from 10 unfinished logins on (MaxStartups)."""

_DEEPEST = 64
"""Folders below each other. A web server that answers every path with the same page has no deepest one."""

_CHECKSUMS = (
    *("ETag", "etag", "e_tag", "checksum", "Content-MD5", "content_md5", "Digest", "md5", "md5Hash", "md5Checksum"),
    *("sha", "sha1", "sha256", "hex", "blob_id", "generation", "version_id"),
)
"""What drivers call what changes when the content does. Compared only with what has the same name."""

_Entry = dict[str, Any]  # a file or folder as a driver tells it


class _Names(Protocol):
    """How a driver's names and our keys become one another."""

    def key(self, name: str) -> str | None:
        """Return the key of what the driver calls ``name``; None for what is not below the location."""

    def name(self, key: str) -> str:
        """Return what the driver calls ``key``."""


class _PathNames:
    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        self._is_absolute = root.startswith("/")

    def key(self, name: str) -> str | None:
        if not self._root:
            return name.removeprefix("/")
        inside = f"{self._root}/"
        return name[len(inside) :] if name.startswith(inside) else None

    def name(self, key: str) -> str:
        if not key:
            return self._root or ("/" if self._is_absolute else "")
        return f"{self._root}/{key}" if self._root or self._is_absolute else key


class _WebNames:
    """Names are URLs, keys are what they mean: "a%20b" is the file "a b"."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        host = place.netloc.rpartition("@")[2]
        path = "/".join(quote(unquote(segment), safe="") for segment in place.path.split("/"))
        self._root = f"{place.scheme}://{host}{path.rstrip('/')}/"

    def key(self, name: str) -> str | None:
        link = name.removeprefix(self._root)
        # an encoded slash would become one, and what is behind "?" orders the page, as a rule
        if link == name or "%2f" in link.lower() or set(link) & {"?", "#"}:
            return None
        try:
            return unquote(link, errors="strict")
        except UnicodeDecodeError:
            return None

    def name(self, key: str) -> str:
        return self._root + quote(key)


class _Driver(NamedTuple):
    fs: Any
    guard: Any  # an unpinned_http.Guard, or None


class UnpinnedStore:
    """The files below the URL of an ``other``, behind the Store protocol. Thread-safe."""

    def __init__(
        self,
        location: Location,
        *,
        connect_timeout_s: float,
        stall_timeout_s: float,
        ca_bundle: Path | None,
        proxy_for: Callable[[str], str | None],
    ) -> None:
        """Connect to nothing yet. Raises UsageError for a driver that there is not."""
        self._display = location.display
        kind = _driver_class(location.protocol)
        if location.protocol in {"http", "https"}:
            from modelfs import unpinned_http as http  # noqa: PLC0415  aiohttp costs 0.3 s of the start
            from modelfs.transport import trust  # noqa: PLC0415  only these are ours to connect

            options = partial(
                http.options,
                location.url,
                connect_timeout_s=connect_timeout_s,
                stall_timeout_s=stall_timeout_s,
                trusted=trust(ca_bundle) if location.protocol == "https" or ca_bundle else None,
                proxy=proxy_for(location.url),
            )
            self._new_guard: Callable[[], Any] = partial(http.Guard, location.url)
            self._new: Callable[[Any], Any] = lambda guard: kind(**options(guard), skip_instance_cache=True)
            self._names: _Names = _WebNames(location.url)
        else:
            self._new_guard = lambda: None
            self._new = lambda _: kind(**_login(kind, location.url), skip_instance_cache=True)
            self._names = _PathNames(_root(kind, location))
        self._identity = "user and password of the URL" if "***@" in location.display else "what the driver finds"
        self._idle: deque[_Driver] = deque()
        self._omissions = Omissions()

    def facts(self) -> Facts:
        """Return what there is to tell; see ``Telling``."""
        return Facts(self._display, self._identity, engine="fsspec")

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """List some more folders; see ``Store.list_page``.

        The token is the folders still to be listed, with NUL between, which no key of ours holds.
        """
        pending = token.split("\0") if token is not None else [folder]
        batch, later = pending[:_FOLDERS_A_PAGE], pending[_FOLDERS_A_PAGE:]
        objects: list[ObjectInfo] = []
        folders: list[str] = []
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            files: dict[str, _Entry] = {}
            for each, entries in zip(batch, threads.map(self._list_folder, batch), strict=True):
                found, below = self._sort(each, entries)
                files |= found
                folders += below
                if each and entries is not None and not found and not below:
                    objects.append(ObjectInfo(each, 0, "folder", 0))
            sized = threads.map(self._sized, files, files.values())
            objects += [info for key, entry in zip(files, sized, strict=True) if (info := self._object(key, entry))]
        pending = [*folders, *later]
        return Page(objects, "\0".join(pending) if pending else None)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return exactly ``[offset, offset + length)`` of what was listed; see ``Store.read``, and the law."""
        what = f"cannot read {info.key!r}"
        name = self._names.name(info.key)
        with self._driver(what, gone=VersionGoneError) as driver:
            more: dict[str, Any] = {}
            if driver.guard is not None:
                driver.guard.expected = _expected(what, info, offset, length)
            elif not driver.fs.async_impl and type(driver.fs).cat_file is fsspec.AbstractFileSystem.cat_file:
                more = {"cache_type": "none"}  # else a small read brings 5 MB
            data = driver.fs.cat_file(name, start=offset, end=offset + length, **more)
            if driver.guard is None:
                driver.fs.invalidate_cache()
                if not _is_same(info, driver.fs.info(name)):
                    raise VersionGoneError(f"{what}: this version was replaced")
            else:
                driver.guard.expected = None
        if len(data) != length:
            raise CorruptAnswerError(f"{what}: the answer has {len(data)} bytes in place of {length}")
        return memoryview(data).toreadonly()

    @contextmanager
    def _driver(self, what: str, *, gone: type[ModelfsError]) -> Iterator[_Driver]:
        """Lend an instance of the driver to this thread alone, and make its errors ours."""
        try:
            try:
                driver = self._idle.pop()
            except IndexError:
                guard = self._new_guard()
                driver = _Driver(self._new(guard), guard)
            yield driver
        except Exception as error:  # noqa: BLE001  a driver raises whatever its library does
            # nobody knows the state of its connection any more: it is not used again
            raise from_driver(error, what=what, gone=gone) from None
        self._idle.append(driver)

    def _list_folder(self, folder: str) -> list[_Entry] | None:
        """Return what is in ``folder``; None where there is none, or none any more since its parent was listed."""
        try:
            with self._driver(f"cannot list {self._display}", gone=ObjectNotFoundError) as driver:
                driver.fs.invalidate_cache()
                entries = list(driver.fs.ls(self._names.name(folder), detail=True))
        except ObjectNotFoundError:
            if not folder:
                raise
            return None
        # asked for a file, many drivers answer with the file
        is_file = any(
            entry.get("type") == "file" and self._names.key(str(entry["name"])) == folder[:-1] for entry in entries
        )
        return None if folder and is_file else entries

    def _sort(self, folder: str, entries: list[_Entry] | None) -> tuple[dict[str, _Entry], list[str]]:
        """Return the files of a listing by key, and the folders, each in the order of their names."""
        files: dict[str, _Entry] = {}
        folders: set[str] = set()
        for entry in entries or ():
            key = self._names.key(str(entry["name"]))
            if key is None or not key.startswith(folder):
                continue  # it is elsewhere: the folder itself, its parent, another site
            name = key[len(folder) :].rstrip("/")
            if name in {"", ".", ".."} or set(name) & {"/", "\0"}:
                continue
            is_folder = entry.get("type") == "directory"
            if entry.get("type") not in {"file", "directory", "link"}:
                self._omissions.tell(folder + name, "it is neither a file nor a folder")
            elif not is_folder:
                files[folder + name] = entry
            elif folder.count("/") >= _DEEPEST:
                self._omissions.tell(folder + name, "it lies too deep")
            else:
                folders.add(f"{folder}{name}/")
        return dict(sorted(files.items())), sorted(folders)

    def _sized(self, key: str, entry: _Entry) -> _Entry | None:
        """Return ``entry`` with its size, and of a link its target's; None for what is not there."""
        if entry.get("size") is not None and entry["type"] == "file":
            return entry
        try:
            with self._driver(f"cannot list {self._display}", gone=ObjectNotFoundError) as driver:
                found: _Entry = driver.fs.info(self._names.name(key))
        except ObjectNotFoundError:
            self._omissions.tell(key, "the link leads nowhere")
            return None
        return found

    def _object(self, key: str, entry: _Entry | None) -> ObjectInfo | None:
        if entry is None:
            return None
        if entry.get("type") != "file":
            self._omissions.tell(key, "it is a link to something else than a file")
            return None
        if not isinstance(entry.get("size"), int):
            self._omissions.tell(key, "its size is unknown")
            return None
        if isinstance(self._names, _WebNames) and str(entry.get("url", "")).endswith("/"):
            # the server has led on to the folder, whose page would else be a file
            self._omissions.tell(key, "it is a folder whose link lacks the slash")
            return None
        facts = _facts_of(entry)
        return ObjectInfo(key, entry["size"], json.dumps(facts, sort_keys=True), int(facts.get("time", 0)))


def check_allowed(location: Location, *, is_engine_chosen: bool, is_allowed: bool) -> None:
    """Raise UsageError with what to add, unless somebody has accepted what an ``other`` cannot promise."""
    _check_known(location.protocol)
    flags = ("" if is_engine_chosen else " --engine fsspec") + ("" if is_allowed else " --allow-unpinned")
    if flags:
        raise UsageError(
            f"{location.protocol}:// is read through fsspec and cannot be pinned to a version, so that a file that is"
            f" replaced while it is read may give bytes of two versions; to accept that, add{flags}"
        )


def _check_known(protocol: str) -> None:
    if protocol not in available_protocols():
        raise UsageError(f"{protocol}:// is not a kind of location that modelfs or fsspec knows: write {FORMS}")


def _driver_class(protocol: str) -> Any:
    _check_known(protocol)
    try:
        return get_filesystem_class(protocol)
    except ImportError as error:
        raise missing_package(error, what=f"cannot read {protocol}://") from error


def _login(kind: Any, url: str) -> dict[str, Any]:
    """Return what the driver takes from the URL. Drivers leave user and password percent-encoded."""
    found: dict[str, Any] = kind._get_kwargs_from_urls(url)  # noqa: SLF001  what fsspec.core.url_to_fs does
    return {
        name: unquote(value) if name in {"username", "password"} and isinstance(value, str) else value
        for name, value in found.items()
    }


def _root(kind: Any, location: Location) -> str:
    try:
        return str(kind._strip_protocol(location.url))  # noqa: SLF001  what fsspec.core.url_to_fs does
    except Exception as error:  # noqa: BLE001  a driver raises whatever its library does
        raise from_driver(error, what=f"cannot read {location.display}", gone=UsageError) from None


def _facts_of(entry: Mapping[str, Any]) -> dict[str, str | int]:
    """Return what identifies the content of a file, as far as the driver tells."""
    facts: dict[str, str | int] = {name: str(entry[name]) for name in _CHECKSUMS if entry.get(name)}
    if (time_ns := unpinned_times.find_ns(entry)) is not None:
        facts["time"] = time_ns
    if entry.get("size") is not None:
        facts["size"] = int(entry["size"])
    return facts


def _is_same(info: ObjectInfo, entry: Mapping[str, Any]) -> bool:
    """Compare what both tell: some drivers tell more of one file than in a listing."""
    listed, now = json.loads(info.version), _facts_of(entry)
    return all(listed[name] == now[name] for name in listed.keys() & now.keys())


def _expected(what: str, info: ObjectInfo, offset: int, length: int) -> Any:
    from modelfs.unpinned_http import Expected  # noqa: PLC0415  loaded by now

    listed = json.loads(info.version)
    return Expected(what, offset, length, info.size, listed.get("ETag", ""), listed.get("time"))
