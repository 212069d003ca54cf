"""What AWS's environment and profile say about where a bucket is."""

from pathlib import Path

import pytest

from modelfs import aws_settings
from modelfs.aws_settings import AwsSettings
from modelfs.errors import UsageError

CONFIG = """
[default]
region = eu-west-1
[profile two]
region = eu-west-2
endpoint_url = http://profile:1
services = mine
use_dualstack_endpoint = true
use_fips_endpoint = true
ca_bundle = /profile.pem
s3 =
  addressing_style = virtual
[services mine]
s3 =
  endpoint_url = http://service:1
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "config").chmod(0o600)
    return {"AWS_CONFIG_FILE": str(tmp_path / "config"), "HOME": str(tmp_path)}


def test_profile_says_all(environment: dict[str, str]) -> None:
    assert aws_settings.find({**environment, "AWS_PROFILE": "two"}) == AwsSettings(
        "eu-west-2", "http://service:1", "virtual", use_dual_stack=True, use_fips=True, ca_bundle=Path("/profile.pem")
    )


def test_variables_win_over_the_profile(environment: dict[str, str]) -> None:
    said = {
        "AWS_PROFILE": "two",
        "AWS_DEFAULT_REGION": "r2",
        "AWS_ENDPOINT_URL": "http://all:1",
        "AWS_USE_DUALSTACK_ENDPOINT": "false",
        "AWS_USE_FIPS_ENDPOINT": "FALSE",
        "AWS_CA_BUNDLE": "/own.pem",
    }
    found = aws_settings.find({**environment, **said})
    assert found == AwsSettings("r2", "http://all:1", "virtual", ca_bundle=Path("/own.pem"))
    found = aws_settings.find({**environment, **said, "AWS_ENDPOINT_URL_S3": "http://s3:1", "AWS_REGION": "r1"})
    assert (found.endpoint_url, found.region) == ("http://s3:1", "r1")


def test_configured_endpoints_can_be_ignored(environment: dict[str, str]) -> None:
    off = {"AWS_ENDPOINT_URL": "http://all:1", "AWS_PROFILE": "two", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    assert aws_settings.find({**environment, **off}).endpoint_url is None


def test_profile_that_is_none_is_a_usage_error(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="three"):
        aws_settings.find({**environment, "AWS_PROFILE": "three"})


def test_process_profile_is_not_the_mappings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "three")
    assert aws_settings.find(environment).region == "eu-west-1"
