"""What the environment and the AWS profile say about where a bucket is: the same that AWS's own tools take from them.

Law: nothing here is a secret or a credential. A variable wins over the profile; the file is read, and botocore imported
for it, only where it is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from modelfs.aws_session import config_file, open_session, with_botocore

Style = Literal["", "path", "virtual"]

_YES = {"true", "1"}


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """What is said; None, False or "" is what nobody says."""

    region: str | None = None
    endpoint_url: str | None = None
    addressing_style: Style = ""
    use_dual_stack: bool = False
    use_fips: bool = False
    ca_bundle: Path | None = None


def find(environment: Mapping[str, str]) -> AwsSettings:
    """Return what ``environment`` and the profile it names say. Raises UsageError for a profile that is none."""
    profile = _profile(environment)
    variable = _Variables(environment)
    endpoint_url = None
    if not variable.is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", profile.get("ignore_configured_endpoint_urls")):
        endpoint_url = variable.first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or profile.get("endpoint_url")
    ca_bundle = variable.first("AWS_CA_BUNDLE") or profile.get("ca_bundle")
    return AwsSettings(
        region=variable.first("AWS_REGION", "AWS_DEFAULT_REGION") or profile.get("region"),
        endpoint_url=endpoint_url,
        addressing_style=cast("Style", profile.get("addressing_style", "")),
        use_dual_stack=variable.is_on("AWS_USE_DUALSTACK_ENDPOINT", profile.get("use_dualstack_endpoint")),
        use_fips=variable.is_on("AWS_USE_FIPS_ENDPOINT", profile.get("use_fips_endpoint")),
        ca_bundle=Path(ca_bundle) if ca_bundle else None,
    )


class _Variables:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def first(self, *names: str) -> str | None:
        values = (self._environment.get(name, "").strip() for name in names)
        return next((value for value in values if value), None)

    def is_on(self, name: str, fallback: str | None) -> bool:
        return (self.first(name) or fallback or "").lower() in _YES


def _profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the plain settings of the profile, its "s3" part and its services' endpoints among them."""
    if not config_file(environment).is_file():
        return {}  # and botocore's session need not be imported

    def read() -> tuple[dict[str, Any], dict[str, Any]]:
        session = open_session(environment)
        return session.get_scoped_config(), session.full_config

    scoped, full = with_botocore(read)
    found = {name: value for name, value in scoped.items() if isinstance(value, str)}
    style = _part(scoped, "s3").get("addressing_style")
    if style in ("path", "virtual"):
        found["addressing_style"] = style
    services = _part(_part(full, "services"), scoped.get("services", ""))
    if endpoint_url := _part(services, "s3").get("endpoint_url"):
        found["endpoint_url"] = endpoint_url
    return found


def _part(table: Any, name: str) -> dict[str, Any]:
    part = table.get(name) if isinstance(table, dict) else None
    return part if isinstance(part, dict) else {}
