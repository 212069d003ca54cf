"""How obstore's HTTP client is set up, the same for every cloud.

Law: nothing comes from the process's environment by chance. obstore reads proxies and more there on its own, so each
setting that matters is set here. Its time-out for a whole request would never let a slow link finish: only lack of
progress counts.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from modelfs import __version__
from modelfs.errors import UsageError

if TYPE_CHECKING:
    from obstore.store import ClientConfig

_NO_LIMIT = timedelta(days=365)
_NO_PROXY = "http://127.0.0.1:9"


def client_options(
    *,
    host: str,
    secure: bool,
    connect_timeout_s: float,
    stall_timeout_s: float,
    max_connections: int,
    ca_bundle: Path | None,
    proxy: str | None,
    headers: Mapping[str, str],
) -> "ClientConfig":
    """Return the options of a client that speaks to ``host``; obstore signs ``headers`` too (seen).

    Raises UsageError for an unreadable ``ca_bundle``.
    """
    client: ClientConfig = {
        "allow_http": not secure,
        "connect_timeout": timedelta(seconds=connect_timeout_s),
        "read_timeout": timedelta(seconds=stall_timeout_s),
        "timeout": _NO_LIMIT,
        "pool_max_idle_per_host": str(max_connections),
        "user_agent": f"modelfs/{__version__}",
        # naming a proxy is what keeps obstore from the environment's; where none is wanted, this host is exempt from it
        "proxy_url": proxy or _NO_PROXY,
        "proxy_excludes": "" if proxy else host,
        "default_headers": dict(headers),
        # without TLS nothing is certified; and obstore would want authorities even so, where there are none
        "allow_invalid_certificates": not secure,
    }
    if secure and ca_bundle is not None:
        client["root_certificate"] = _read(ca_bundle)
    return client


def _read(ca_bundle: Path) -> bytes:
    try:
        return ca_bundle.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the CA bundle {ca_bundle} cannot be read ({error.strerror}); check --ca-bundle or AWS_CA_BUNDLE"
        ) from error
