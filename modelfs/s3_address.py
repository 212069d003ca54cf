"""Where an S3 bucket is: its endpoint, and how a request names the bucket.

Law: an endpoint that somebody named is used as it is; that of AWS comes from botocore's own rule set, which knows the
partitions (China, GovCloud …), dual-stack and FIPS. A wrong guess here would send signed requests to a stranger.

Only the rules are loaded and not a client: 20 ms beside the signer, which a request needs anyway, where a session and a
client cost 400 ms (measured, botocore 1.44). The rule set is botocore's public data; the class that evaluates it is
private, so a test holds its answers, and ``pyproject.toml`` names the oldest botocore that gives them.
"""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from modelfs.errors import UsageError

AddressingStyle = Literal["auto", "path", "virtual"]

_HOST_STYLE = re.compile(r"[0-9a-z][0-9a-z-]+")  # a dot would break the certificate, and capitals the host name
_ENDPOINT = re.compile(r"(https?)://([0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?/*", re.IGNORECASE)


_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """``url`` is the bucket's; ``endpoint`` the server's, the same with host style. Neither ends in a slash."""

    endpoint: str
    url: str
    is_host_style: bool

    @property
    def host(self) -> str:
        """Return the host that is connected to, an IPv6 address without its brackets.

        >>> Address("", "http://[::1]:9000/bkt", False).host
        '::1'
        """
        authority = self.url.partition("://")[2].partition("/")[0]
        return re.sub(r":[0-9]+$", "", authority).strip("[]")

    @property
    def is_secure(self) -> bool:
        """Return whether the server is spoken to over TLS."""
        return self.url.startswith("https:")


@dataclass(frozen=True, slots=True)
class Where:
    """What is said of where a bucket is. ``endpoint_url`` None is AWS."""

    endpoint_url: str | None = None
    addressing_style: AddressingStyle = "auto"
    use_dual_stack: bool = False
    use_fips: bool = False


def resolve(bucket: str, region: str, where: Where) -> Address:
    """Return the address of ``bucket``. Raises UsageError where there is none."""
    if where.endpoint_url is None:
        wants_host = where.addressing_style != "path" and bool(_HOST_STYLE.fullmatch(bucket))
        endpoint = _aws(region, where)
    else:
        wants_host = False
        endpoint = check_endpoint(where.endpoint_url)
    if where.addressing_style == "virtual":
        if not _HOST_STYLE.fullmatch(bucket):
            raise UsageError(f"bucket {bucket!r} cannot stand in a host name: use --addressing-style path")
        wants_host = True
    if not wants_host:
        return Address(endpoint, f"{endpoint}/{bucket}", is_host_style=False)
    scheme, _, authority = endpoint.partition("://")
    return Address(f"{scheme}://{bucket}.{authority}", f"{scheme}://{bucket}.{authority}", is_host_style=True)


def check_endpoint(url: str) -> str:
    """Return the endpoint ``url`` without slashes at its end. Raises UsageError, which does not show it.

    A scheme's own port is left out: it is no part of the Host header that is signed, but some clients would send it.

    >>> check_endpoint("HTTPS://MinIO.example.org:9000/")
    'https://minio.example.org:9000'
    """
    found = _ENDPOINT.fullmatch(url.strip())
    if not found or (found[3] is not None and not 1 <= int(found[3]) <= 65535):  # noqa: PLR2004  the range of TCP
        raise UsageError(
            "the endpoint URL is not http://host:port or https://host:port, without path, user or query: correct"
            " --endpoint-url, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile's endpoint_url"
        )
    scheme, host = found[1].lower(), found[2].lower()
    port = int(found[3]) if found[3] else _PORTS[scheme]
    return f"{scheme}://{host}" + (f":{port}" if port != _PORTS[scheme] else "")


def _aws(region: str, where: Where) -> str:
    """Return AWS's endpoint of a region, without a bucket."""
    from botocore.endpoint_provider import EndpointProvider  # noqa: PLC0415  only AWS needs it
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  only when it is needed
    from botocore.loaders import Loader  # noqa: PLC0415  only when it is needed

    # without the search paths of a person's home, where files of a name would replace AWS's own
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    try:
        rules = loader.load_service_model("s3", "endpoint-rule-set-1")
        provider = EndpointProvider(rules, loader.load_data("partitions"))
        found = provider.resolve_endpoint(
            Region=region, UseDualStack=where.use_dual_stack, UseFIPS=where.use_fips, ForcePathStyle=True
        )
    except BotoCoreError as error:
        raise UsageError(f"AWS has no S3 endpoint for region {region!r}: {error}; check --region") from error
    return str(found.url)
