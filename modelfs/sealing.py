"""``modelfs seal``: looks whether a version is whole, and says so in its manifest, which has a mount show it at once.

Law: the manifest is written last, and nothing else is ever written. It names what two listings told, a moment apart,
and so never a version that changed in between. What is found wrong is told, and what is not whole is not sealed.
A second run finds the seal and writes nothing.
"""

import posixpath
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal, Protocol, cast

import trio

from modelfs import growing, lint, linting, manifest, tree
from modelfs.blocks import ObjectInfo
from modelfs.comparing import Comparison
from modelfs.config import Config
from modelfs.errors import ObjectNotFoundError, UsageError
from modelfs.findings import Finding, error, warning
from modelfs.location import Location, parse
from modelfs.opening import open_configured
from modelfs.store import RetryPolicy, Store, Writable, in_thread_with_retries, list_everything
from modelfs.texts import TEXT_BYTES_MAX
from modelfs.upload_reader import UploadReader
from modelfs.uploads import WHOLE, why_open
from modelfs.version_policy import is_version

PAUSE_S = 1.0
"""Between the two listings: an upload that is under way moves on in a second, and the clocks of stores tick."""

_NOT_OF_A_VERSION = {"case", "hidden", "version-name", "config-name", "policy", "ensemble", "key"}
"""Rules of lint about something else than whether a version is whole."""


_Files = Mapping[str, ObjectInfo]
"""Objects by key, which is relative to the model's folder."""


class _Sealable(Store, Writable, Protocol):
    """A Store that can be sealed in."""


State = Literal["sealed", "was sealed", "refused"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be sealed: ``location`` is the model's folder; ``version`` None is all there are."""

    location: Location
    model: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one version came out. ``files`` and ``bytes`` are what its manifest names."""

    version: str
    state: State
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was sealed, and what was found on the way."""

    outcomes: list[Outcome] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def target_of(url: str) -> Target:
    """Return what ``url`` names: REPOSITORY/MODEL, or REPOSITORY/MODEL/VERSION. Raises UsageError.

    >>> found = target_of("s3://bucket/models/resnet/3")
    >>> found.location.prefix, found.model, found.version
    ('models/resnet', 'resnet', '3')
    """
    location = parse(url)
    if location.scheme == "other":
        raise UsageError(f"{location.protocol}:// is only read. Seal in S3, Google Cloud Storage, Azure or a folder.")
    names = location.prefix.strip("/").split("/")
    if len(names) > 1 and names[-1].isdecimal() and names[-1].isascii() and not is_version(names[-1]):
        raise UsageError(f"{names[-1]!r} is no version that can be sealed. Name it 1, 2, 3 and so on.")
    version = names.pop() if len(names) > 1 and is_version(names[-1]) else None
    if not names[-1]:
        raise UsageError(f"{location.display} names no model. Write URL/MODEL or URL/MODEL/VERSION.")
    prefix = "/".join(names)
    return Target(replace(location, prefix=f"/{prefix}" if location.scheme == "file" else prefix), names[-1], version)


def seal(url: str, config: Config, *, source: str | None = None, verify: bool = False, pause_s: float) -> Report:
    """Seal what ``url`` names, and return how that went. Raises a ModelfsError when it cannot be looked at.

    ``source`` is the local folder that was uploaded: the model's, or the version's where ``url`` names one. With
    ``verify`` all bytes are read back and compared with it. ``pause_s`` lies between the two listings.
    """
    target = target_of(url)
    if verify and source is None:
        raise UsageError("--verify compares with a local folder, and none is given. Add --from DIR.")
    return trio.run(_Sealing(target, config, source, verify=verify, pause_s=pause_s).run)


class _Sealing:
    """One run. Keys of the store are relative to the model's folder; paths of findings begin with the model."""

    def __init__(self, target: Target, config: Config, source: str | None, *, verify: bool, pause_s: float) -> None:
        self._target = target
        self._config = config
        self._source = source
        self._verify = verify
        self._pause_s = pause_s
        self._policy = RetryPolicy(deadline_s=config.mount_timeout_s)
        self._limiter = trio.CapacityLimiter(config.max_connections)
        self._store: _Sealable
        self._findings: list[Finding] = []

    async def run(self) -> Report:
        """Look, look again, and write."""
        self._store = cast("_Sealable", await open_configured(self._target.location, self._config))
        first = await self._list()
        versions = self._versions(first)
        self._findings += await self._lint(first, versions)
        before = self._files(first)
        if self._source is not None:
            self._findings += await self._compare(before, versions, self._source)
        await trio.sleep(self._pause_s)
        second = await self._list()
        after = self._files(second)
        self._findings += self._changes(before, after, versions)
        self._findings += await self._uploading(second, versions)
        if not versions and not any(each.severity == "error" for each in self._findings):
            what, advice = "there is no version in this model that can be sealed", "put its files into 1/"
            self._findings.append(error("versions", self._target.model, what, advice))
        outcomes = [await self._seal(version, after, second) for version in versions]
        return Report(outcomes, sorted(self._findings, key=lambda each: (each.path, each.rule)))

    async def _list(self) -> dict[str, ObjectInfo]:
        """Return the model's objects by key."""
        objects = await list_everything(self._store, policy=self._policy, limiter=self._limiter)
        return {info.key: info for info in objects}

    def _versions(self, listed: _Files) -> list[str]:
        """Return the versions to seal, which are there."""
        found = {key.partition("/")[0] for key in listed if "/" in key}
        wanted = self._target.version
        display = self._target.location.display
        if not listed:
            raise ObjectNotFoundError(f"there is no model at {display}. Check the path, or upload it first.")
        if wanted is not None and wanted not in found:
            raise ObjectNotFoundError(f"there is no version {wanted} at {display}. Upload it first.")
        return [wanted] if wanted is not None else sorted(filter(is_version, found), key=int)

    async def _lint(self, listed: _Files, versions: list[str]) -> list[Finding]:
        """Return what lint says of the model itself and of ``versions``."""
        shown = self._tree(listed, show_hidden=True)
        small = [info._replace(key=self._key(info.key)) for info in lint.wanted(shown)]
        contents = await linting.read_small(self._store, small, self._config)
        found = lint.lint(shown, {self._path(key): data for key, data in contents.items()})
        return [each for each in found if each.rule not in _NOT_OF_A_VERSION and self._concerns(each.path, versions)]

    async def _compare(self, files: _Files, versions: list[str], source: str) -> list[Finding]:
        """Return where the store differs from the folder ``source``."""
        folder = f"{self._target.version}/" if self._target.version is not None else ""
        stored = {
            key[len(folder) :]: info
            for key, info in files.items()
            if key.startswith(folder) and self._concerns(self._path(key), versions)
        }
        comparison = Comparison(
            source,
            store=self._store,
            policy=self._policy,
            limiter=self._limiter,
            etags_are_checksums=self._target.location.scheme == "s3",
            reads_all=self._verify,
            show_hidden=self._config.show_hidden,
        )
        found = await comparison.differences(stored)
        return [replace(each, path=self._path(folder + each.path)) for each in found]

    def _changes(self, before: _Files, after: _Files, versions: list[str]) -> list[Finding]:
        """Return which files of ``versions``, or of the model itself, are not what they were."""
        what = "this changed while it was looked at"
        advice = "seal again when the upload has ended"
        return [
            error("changed", self._path(key), what, advice)
            for key in before.keys() | after.keys()
            if _identity(before.get(key)) != _identity(after.get(key)) and self._concerns(self._path(key), versions)
        ]

    async def _uploading(self, listed: _Files, versions: list[str]) -> list[Finding]:
        """Return which uploads in parts have begun and not ended: no listing tells of them.

        Whose they are nobody knows, and many are never ended: so they refuse nothing.
        """
        uploads = await UploadReader(self._store).read([WHOLE])
        open_ = [each for folder in uploads.open for each in uploads.holding(folder, listed, time.time_ns())]
        advice = "seal again when it has, if it belongs to this version"
        return [
            warning("upload", self._path(each.key), why_open([each], ""), advice)
            for each in open_
            if self._concerns(self._path(each.key), versions)
        ]

    async def _seal(self, version: str, files: _Files, listed: _Files) -> Outcome:
        """Write the manifest of ``version``, unless something is wrong with it or it is there."""
        path = self._path(version)
        if any(each.severity == "error" and self._concerns(each.path, [version]) for each in self._findings):
            return Outcome(path, "refused")
        prefix = f"{version}/"
        own = {key[len(prefix) :]: info for key, info in files.items() if key.startswith(prefix)}
        total_bytes = sum(info.size for info in own.values())
        key = prefix + manifest.MANIFEST_NAME
        told = {name: (info.size, info.version) for name, info in own.items()}
        if key in listed and await self._present(listed[key]) == told:
            return Outcome(path, "was sealed", len(own), total_bytes)
        data = manifest.compose(own, sealed_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        if len(data) > TEXT_BYTES_MAX:
            what = f"a manifest of its {len(own)} files would be too large for a mount to read"
            self._findings.append(error("manifest", path, what, "leave it to settle, or pack its files"))
            return Outcome(path, "refused")
        request = partial(self._store.write_small, key, data)
        await in_thread_with_retries(request, what=f"write {key}", policy=self._policy, limiter=self._limiter)
        return Outcome(path, "sealed", len(own), total_bytes)

    async def _present(self, info: ObjectInfo) -> dict[str, tuple[int, str]] | None:
        """Return what the manifest that is there says; None for what is none."""
        if info.size > TEXT_BYTES_MAX:
            return None
        read = await linting.read_small(self._store, [info], self._config)
        return manifest.parse(read[info.key])

    def _files(self, listed: _Files) -> _Files:
        """Return the objects that a mount shows as files."""
        shown = self._tree(listed, show_hidden=self._config.show_hidden)
        keys = (self._key(path) for path in tree.files(shown))
        return {key: listed[key] for key in keys if posixpath.basename(key) != manifest.MANIFEST_NAME}

    def _tree(self, listed: _Files, *, show_hidden: bool) -> tree.Tree:
        objects = (info._replace(key=self._path(info.key)) for info in listed.values())
        return growing.build(objects, show_hidden=show_hidden)

    def _path(self, key: str) -> str:
        return f"{self._target.model}/{key}"

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self._target.model}/")

    def _concerns(self, path: str, versions: list[str]) -> bool:
        """Tell whether ``path`` lies in one of ``versions``, or in no version, where it concerns them all."""
        version = self._key(path).partition("/")[0] if path != self._target.model else ""
        return not is_version(version) or version in versions


def _identity(info: ObjectInfo | None) -> tuple[int, str] | None:
    return None if info is None else (info.size, info.version)
