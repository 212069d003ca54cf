"""Credentials of S3: who modelfs is to a store, found in the order that Triton uses.

Law: the environment is read in the ``credentials*`` and ``aws_*`` modules (and in ``config``), from a mapping that is
passed in, and nowhere else. A secret never gets into a message, a log line or a repr. A source is a callable that is
asked anew for every request, so that a mount that lives for months follows rotated keys.

The keys of the environment win, and then botocore is not even imported (its session costs 0.3 s); else botocore's own
chain (profiles, assumed roles, web identity, containers, the metadata service), which we do not write again; else
anonymous.
"""

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelfs.aws_session import config_file, credentials_file, open_session, with_botocore
from modelfs.credential_files import Stamp, stamp
from modelfs.credentials_triton import VARIABLE, CredentialFile, Entry
from modelfs.errors import ModelfsError, UsageError

log = logging.getLogger(__name__)

_KEY_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_RELOAD_S = 60.0
"""How long keys that do not refresh themselves are used before their source is asked again, should no file tell."""

_OF_A_PROFILE = frozenset({"shared-credentials-file", "config-file", "assume-role", "custom-process", "sso", "login"})
"""What botocore calls the sources that a profile names."""


@dataclass(frozen=True, slots=True)
class S3Keys:
    """What signs requests to S3. ``origin`` says where it was found, for people; ``expires_at`` None is never."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    origin: str = field(default="", compare=False)
    expires_at: dt.datetime | None = field(default=None, compare=False)


KeySource = Callable[[], S3Keys]
"""Returns the keys of now. Thread-safe; raises AccessRefusedError, or StoreUnavailableError where a retry may help."""


def principal_of(source: KeySource) -> str:
    """Return who ``source`` has the keys of, the same for as long as it is the same one; a secret text.

    A role, where its keys change with each session and botocore tells it; else the keys. May ask the network.
    """
    if isinstance(source, FromFile):
        return principal_of(source.source)
    keys = source()
    role = source.role() if keys.session_token and isinstance(source, Chain) else ""
    return role or f"{keys.access_key_id} {keys.secret_access_key}"


def find_s3(environment: Mapping[str, str], file: CredentialFile | None = None) -> KeySource | None:
    """Return the source of S3 keys, or None for anonymous access. ``file`` is Triton's, where there is one.

    May ask the network (the metadata service, a token endpoint) or run a credential_process, and so may block. Raises
    UsageError when a variable, profile or file is not as it must be.
    """
    if file is not None:
        followed = FromFile(file, environment)
        return followed if followed.found else None
    keys = _environment_keys(environment)
    if keys is not None:
        return lambda: keys
    files = (config_file(environment), credentials_file(environment))
    profile = environment.get("AWS_PROFILE", "").strip() or "default"
    chain = Chain(lambda: with_botocore(lambda: _load(environment)), files=files, profile=profile)
    return chain if chain.found else None


def _load(environment: Mapping[str, str]) -> Any:
    session = open_session(environment)
    chain = session.get_component("credential_provider")
    chain.remove("env")  # the process's own, where ours is the mapping
    # Triton's SDK asks a profile for its keys before the pod's identity; botocore would the other way round
    web_identity = chain.get_provider("assume-role-with-web-identity")
    chain.remove(web_identity.METHOD)
    chain.insert_before("container-role", web_identity)
    return chain.load_credentials()


def _environment_keys(environment: Mapping[str, str]) -> S3Keys | None:
    # keys never hold blanks, but those from a Kubernetes secret often end in a newline
    names = _KEY_VARIABLES
    values = {name: environment.get(name, "").strip() for name in names}
    for name, value in values.items():
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise UsageError(f"{name} holds characters that no AWS key has: copy the key again")
    key_id, secret, token = values.values()
    if not key_id and not secret:
        return None
    for name, other in (names[:2], names[1::-1]):
        if not values[name]:
            raise UsageError(f"{other} is set but {name} is not: set both, or neither to use a profile or a role")
    return S3Keys(key_id, secret, token or None, origin="AWS_ACCESS_KEY_ID")


class Chain:
    """Asks botocore's credentials for their keys, and has them loaded again when their source may have changed.

    Refreshable credentials (roles, the metadata service, SSO) renew themselves when they are asked. All are loaded anew
    when one of ``files`` has changed, and those that cannot renew themselves every minute as well. When that fails, the
    keys of before are used on.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        *,
        files: Sequence[Path] = (),
        profile: str = "default",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load once. Raises UsageError or AccessRefusedError when that fails. ``profile`` is for people."""
        self._load = load
        self._files = files
        self._profile = profile
        self._clock = clock
        self._lock = threading.Lock()
        self._stamps = self._stamp()
        self._loaded_s = clock()
        self._credentials = load()

    @property
    def found(self) -> bool:
        """Whether there are credentials at all."""
        return self._credentials is not None

    def __call__(self) -> S3Keys:
        """Return the keys of now; see KeySource."""
        with self._lock:  # one refresh at a time; whoever needs keys has to wait for it anyway
            self._reload()
            credentials = self._credentials
            frozen = with_botocore(credentials.get_frozen_credentials)
        method = str(getattr(credentials, "method", ""))
        return S3Keys(
            frozen.access_key,
            frozen.secret_key,
            frozen.token,
            origin=f"the profile {self._profile!r} ({method})" if method in _OF_A_PROFILE else method,
            expires_at=getattr(credentials, "_expiry_time", None),  # botocore tells it nowhere else
        )

    def role(self) -> str:
        """Return the role whose keys these are, or "": of an STS role, of SSO, of the machine. It was granted by now.

        botocore tells it nowhere but in what it refreshes by. May ask the metadata service.
        """
        with self._lock:
            refresh = getattr(self._credentials, "_refresh_using", None)
            method = str(getattr(self._credentials, "method", ""))
        fetcher = getattr(refresh, "__self__", None)
        if found := getattr(fetcher, "_role_arn", None):
            return f"role {found}"
        if found := getattr(fetcher, "_role_name", None):
            return f"{method} {getattr(fetcher, '_account_id', '')} {found}"
        if method != "iam-role" or refresh is None:
            return ""
        told = with_botocore(refresh)
        name = told.get("role_name") if isinstance(told, dict) else None
        return f"machine {told.get('account_id', '')} {name}" if name else ""

    def _reload(self) -> None:
        stamps = self._stamp()
        is_due = self._clock() - self._loaded_s >= _RELOAD_S and not hasattr(self._credentials, "refresh_needed")
        if stamps == self._stamps and not is_due:
            return
        self._stamps = stamps
        self._loaded_s = self._clock()
        try:
            self._credentials = self._load() or self._credentials
        except ModelfsError as error:
            log.warning("AWS credentials cannot be read again, going on with the old ones error=%s", error)

    def _stamp(self) -> list[Stamp | None]:
        return [stamp(file) for file in self._files]


class FromFile:
    """Follows the keys of an entry of Triton's credential file; see KeySource."""

    def __init__(self, file: CredentialFile, environment: Mapping[str, str]) -> None:
        """Find the keys that the entry leads to. Raises as ``find_s3`` does."""
        self._file = file
        self._environment = environment
        self._lock = threading.Lock()
        self._entry = file()
        self._source = find_s3(with_entry(environment, self._entry))

    @property
    def found(self) -> bool:
        """Whether there are credentials at all."""
        return self._source is not None

    @property
    def source(self) -> KeySource:
        """The source that the entry leads to now."""
        with self._lock:
            entry = self._file()
            if entry is not self._entry:
                self._entry = entry
                try:
                    self._source = find_s3(with_entry(self._environment, entry)) or self._source
                except ModelfsError as error:
                    log.warning("going on with the old credentials error=%s", error)
            source = self._source
        assert source is not None  # noqa: S101  nobody asks where nothing was found
        return source

    def __call__(self) -> S3Keys:
        """Return the keys of now."""
        keys = self.source()
        return replace(keys, origin=f"{VARIABLE}={self._file.path}, entry {self._entry.name!r} ({keys.origin})")


def with_entry(environment: Mapping[str, str], entry: Entry) -> dict[str, str]:
    """Return ``environment`` with the identity of ``entry`` in place of its own. Raises UsageError for half a key."""
    if bool(entry["key_id"]) != bool(entry["secret_key"]):
        given, lacking = ("key_id", "secret_key") if entry["key_id"] else ("secret_key", "key_id")
        raise UsageError(f"entry {entry.name!r} of {VARIABLE} has a {given} but no {lacking}: give both or none")
    own = {name: value for name, value in environment.items() if name not in {*_KEY_VARIABLES, "AWS_PROFILE"}}
    said = {
        "AWS_ACCESS_KEY_ID": entry["key_id"],
        "AWS_SECRET_ACCESS_KEY": entry["secret_key"],
        "AWS_SESSION_TOKEN": entry["session_token"] if entry["key_id"] else "",
        "AWS_PROFILE": entry["profile"],
        "AWS_REGION": entry["region"],
    }
    return own | {name: value for name, value in said.items() if value}
