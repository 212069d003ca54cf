"""Which proxy stands before a store: what the usual variables of the environment say.

Law: pure. A store on loopback is never reached through a proxy, whatever the variables say, since no proxy could reach
it. One answer for all drivers: curl, urllib3 and reqwest each read these variables a little differently.

``HTTPS_PROXY`` is for https:// stores, ``HTTP_PROXY`` for http:// ones, ``ALL_PROXY`` for both, and small letters win.
``NO_PROXY`` is a list of hosts, domains (with or without a leading dot), addresses and networks, each with or without a
port; "*" is all. A proxy's URL may hold a password: it is never shown.
"""

import ipaddress
import re
import urllib.parse
from collections.abc import Mapping

from modelfs.errors import UsageError

_PROXY = re.compile(r"https?://(?:[^/?#@\s]*@)?[^/?#@\s]+/?", re.IGNORECASE)


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for ``url``, "scheme://host…", or None. Raises UsageError for one that is none.

    >>> proxy_for("https://s3.example.org", {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": "example.com"})
    'http://proxy:3128'
    >>> proxy_for("https://s3.example.org", {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": ".example.org"})
    >>> proxy_for("http://127.0.0.1:9000", {"ALL_PROXY": "proxy:3128"})
    """
    scheme = url.partition("://")[0].lower()
    name, value = _first(environment, f"{scheme}_proxy", "all_proxy")
    if not value:
        return None
    parts = urllib.parse.urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if _is_loopback(host) or _is_exempt(host, parts.port, _first(environment, "no_proxy")[1]):
        return None
    proxy = value if "://" in value else f"http://{value}"
    if not _PROXY.fullmatch(proxy):
        raise UsageError(f"{name} is not a proxy's URL: write http://host:port")
    return proxy.rstrip("/")


def _first(environment: Mapping[str, str], *names: str) -> tuple[str, str]:
    for name in names:
        for spelling in (name, name.upper()):
            if value := environment.get(spelling, "").strip():
                return spelling, value
    return "", ""


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address.is_loopback if address is not None else host == "localhost" or host.endswith(".localhost")


def _is_exempt(host: str, port: int | None, exceptions: str) -> bool:
    return any(_matches(host, port, each.strip().lower()) for each in exceptions.split(",") if each.strip())


def _matches(host: str, port: int | None, exception: str) -> bool:
    if exception == "*":
        return True
    address = _address(host)
    if address is not None and (network := _network(exception)) is not None:
        return address.version == network.version and address in network
    name, colon, number = exception.rpartition(":")
    if colon and number.isdigit():
        if port != int(number):
            return False
        exception = name.strip("[]")
    domain = exception.removeprefix("*").removeprefix(".")
    return host == domain or host.endswith(f".{domain}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
