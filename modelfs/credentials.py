"""Credentials: who modelfs is to a store, found in the order that Triton uses.

Law: the environment is read here (and in ``config``), from a mapping that is passed in, and nowhere else. A secret
never gets into a message, a log line or a repr. A source is a callable that is asked anew for every request, so that a
mount that lives for months follows rotated keys.

For S3: the keys of the environment win, and then botocore is not even imported (its session costs 0.3 s); else
botocore's own chain (profiles, assumed roles, web identity, ECS, IMDS), which we do not write again; else anonymous.
botocore reads the process's environment itself for what it finds there.
"""

import logging
import os
import pwd
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelfs.errors import AccessRefusedError, ModelfsError, StoreUnavailableError, UsageError

log = logging.getLogger(__name__)

_REREAD_S = 60.0
"""How long keys from a file are used before the file is read again: AWS's own providers rotate minutes ahead."""


@dataclass(frozen=True, slots=True)
class S3Keys:
    """What signs requests to S3."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


KeySource = Callable[[], S3Keys]
"""Returns the keys of now. Thread-safe; raises AccessRefusedError, or StoreUnavailableError where a retry may help."""


def find_s3(environment: Mapping[str, str]) -> KeySource | None:
    """Return the source of S3 keys, or None for anonymous access. May ask the network (IMDS) for a second.

    Raises UsageError when a variable, profile or file is not as it must be.
    """
    keys = _environment_keys(environment)
    if keys is not None:
        return lambda: keys
    chain = Chain(lambda: _botocore_credentials(environment))
    return chain if chain.found else None


def find_s3_region(environment: Mapping[str, str]) -> str | None:
    """Return the region that the environment or the AWS profile names, or None."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if region := environment.get(name, "").strip():
            return region
    if not _config_file(environment).is_file():
        return None  # and botocore's session need not be imported
    region = _with_botocore(lambda: _session(environment).get_config_variable("region"))
    return str(region) if region else None


def find_ca_bundle(environment: Mapping[str, str]) -> Path | None:
    """Return the file with further certificate authorities that ``AWS_CA_BUNDLE`` names, or None."""
    name = environment.get("AWS_CA_BUNDLE", "").strip()
    return Path(name) if name else None


def _environment_keys(environment: Mapping[str, str]) -> S3Keys | None:
    # keys never hold blanks, but those from a Kubernetes secret often end in a newline
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
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
    return S3Keys(key_id, secret, token or None)


class Chain:
    """Asks botocore's credentials for their keys, and has them loaded again when they cannot refresh themselves.

    Refreshable credentials (roles, IMDS, SSO) renew themselves when they are asked; those of a file do not, so the
    chain is gone through again every minute. When that fails, the keys of before are used on.
    """

    def __init__(self, load: Callable[[], Any], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Load once. Raises UsageError or AccessRefusedError when that fails."""
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._credentials = load()
        self._loaded_s = clock()

    @property
    def found(self) -> bool:
        """Whether there are credentials at all."""
        return self._credentials is not None

    def __call__(self) -> S3Keys:
        """Return the keys of now; see KeySource."""
        with self._lock:  # one refresh at a time; whoever needs keys has to wait for it anyway
            self._reread()
            frozen = _with_botocore(self._credentials.get_frozen_credentials)
        return S3Keys(frozen.access_key, frozen.secret_key, frozen.token)

    def _reread(self) -> None:
        if hasattr(self._credentials, "refresh_needed") or self._clock() - self._loaded_s < _REREAD_S:
            return
        self._loaded_s = self._clock()
        try:
            self._credentials = self._load() or self._credentials
        except ModelfsError as error:
            log.warning("AWS credentials cannot be read again, going on with the old ones error=%s", error)


def _botocore_credentials(environment: Mapping[str, str]) -> Any:
    return _with_botocore(lambda: _session(environment).get_credentials())


def _session(environment: Mapping[str, str]) -> Any:
    import botocore.session  # noqa: PLC0415  0.3 s, which only a profile or a role should cost

    session = botocore.session.Session(profile=environment.get("AWS_PROFILE") or None)
    session.set_config_variable("config_file", str(_config_file(environment)))
    if file := environment.get("AWS_SHARED_CREDENTIALS_FILE"):
        session.set_config_variable("credentials_file", file)
    return session


def _config_file(environment: Mapping[str, str]) -> Path:
    if file := environment.get("AWS_CONFIG_FILE"):
        return Path(os.path.expanduser(file))  # noqa: PTH111  as botocore does; Path's own raises for an unknown user
    return Path(environment.get("HOME") or _home_of_user()) / ".aws/config"


def _home_of_user() -> str:
    """Return the home that the user database tells: systemd gives its services no HOME."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a number without a name, as containers have
        return "/"


def _with_botocore(call: Callable[[], Any]) -> Any:
    """Run ``call`` and turn what botocore raises into ours. botocore's messages name files and roles, no secrets."""
    from botocore import exceptions  # noqa: PLC0415  imported only where botocore is in use already

    try:
        return call()
    except (exceptions.ProfileNotFound, exceptions.ConfigParseError, exceptions.PartialCredentialsError) as error:
        raise UsageError(f"the AWS profile cannot be used: {error}") from error
    except (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.MetadataRetrievalError) as error:
        raise StoreUnavailableError(f"AWS credentials cannot be had from their source now: {error}") from error
    except (exceptions.BotoCoreError, exceptions.ClientError, RuntimeError) as error:
        # RuntimeError is what botocore raises for credentials that stayed expired after a refresh
        raise AccessRefusedError(f"AWS credentials cannot be had: {error}; check the profile or role") from error
