"""How obstore is set up, the same for every cloud.

obstore is Rust: it releases the GIL and gives its buffer away without a copy. It cannot ask for a key with an ASCII
control character, nor for one that is no UTF-8. Keys with empty, "." or ".." segments cannot be asked for either, but
are listed as they are: the tree hides them by its own rule, so they are never read.

Law: nothing comes from the process's environment by chance. obstore reads proxies and more there on its own, so each
setting that matters is set here. Its time-out for a whole request would never let a slow link finish: only lack of
progress counts.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from modelfs import __version__
from modelfs.errors import UsageError
from modelfs.transport import Link

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

NAME = "obstore"
UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
ONE_TRY: "RetryConfig" = {"max_retries": 0}

_NO_LIMIT = timedelta(days=365)
_NO_PROXY = "http://127.0.0.1:9"


def client_options(link: Link) -> "ClientConfig":
    """Return the options of a client that speaks over ``link``, whose headers obstore signs too (seen).

    Raises UsageError for an unreadable CA bundle.
    """
    client: ClientConfig = {
        "allow_http": not link.is_secure,
        "connect_timeout": timedelta(seconds=link.connect_timeout_s),
        "read_timeout": timedelta(seconds=link.stall_timeout_s),
        "timeout": _NO_LIMIT,
        "pool_max_idle_per_host": str(link.max_connections),
        "user_agent": f"modelfs/{__version__}",
        # naming a proxy is what keeps obstore from the environment's; where none is wanted, this host is exempt from it
        "proxy_url": link.proxy or _NO_PROXY,
        "proxy_excludes": "" if link.proxy else link.host,
        "default_headers": dict(link.headers),
        # without TLS nothing is certified; and obstore would want authorities even so, where there are none
        "allow_invalid_certificates": not link.is_secure,
    }
    if link.is_secure and link.ca_bundle is not None:
        client["root_certificate"] = _read(link.ca_bundle)
    return client


def _read(ca_bundle: Path) -> bytes:
    try:
        return ca_bundle.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the CA bundle {ca_bundle} cannot be read ({error.strerror}); check --ca-bundle or AWS_CA_BUNDLE"
        ) from error


def not_set_up(display: str) -> UsageError:
    """Return the error for a client of ``display`` that cannot be made. A proxy's password may be in its cause."""
    return UsageError(
        f"obstore cannot be set up for {display}; if this machine has no certificate authorities, "
        "install ca-certificates or name a file with --ca-bundle"
    )
