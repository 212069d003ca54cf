"""Proxies: the usual variables, one meaning."""

import pytest

from modelfs.errors import UsageError
from modelfs.proxies import proxy_for

P = "http://proxy:3128"


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://s3.org", {}, None),
        ("https://s3.org", {"HTTPS_PROXY": P}, P),
        ("https://s3.org", {"https_proxy": P, "HTTPS_PROXY": "http://other:1"}, P),
        ("https://s3.org", {"HTTP_PROXY": P}, None),
        ("http://s3.org", {"HTTP_PROXY": P}, P),
        ("http://s3.org", {"HTTPS_PROXY": P}, None),
        ("http://s3.org", {"ALL_PROXY": P}, P),
        ("https://s3.org", {"ALL_PROXY": P, "https_proxy": "http://other:1"}, "http://other:1"),
        ("https://s3.org", {"HTTPS_PROXY": "proxy:3128"}, P),
        ("https://s3.org", {"HTTPS_PROXY": "http://user:word@proxy:3128/"}, "http://user:word@proxy:3128"),
        ("https://s3.org", {"HTTPS_PROXY": " "}, None),
        # exempt
        ("https://s3.org", {"HTTPS_PROXY": P, "NO_PROXY": "*"}, None),
        ("https://s3.org", {"HTTPS_PROXY": P, "NO_PROXY": "s3.org"}, None),
        ("https://bkt.s3.org", {"HTTPS_PROXY": P, "NO_PROXY": "s3.org"}, None),
        ("https://bkt.s3.org", {"HTTPS_PROXY": P, "no_proxy": "a.b, .S3.org"}, None),
        ("https://bkt.s3.org", {"HTTPS_PROXY": P, "NO_PROXY": "*.s3.org"}, None),
        ("https://xs3.org", {"HTTPS_PROXY": P, "NO_PROXY": "s3.org"}, P),
        ("https://s3.org:9000", {"HTTPS_PROXY": P, "NO_PROXY": "s3.org:9000"}, None),
        ("https://s3.org:9000", {"HTTPS_PROXY": P, "NO_PROXY": "s3.org:9001"}, P),
        ("http://10.1.2.3:9000", {"HTTP_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://10.1.2.3:9000", {"HTTP_PROXY": P, "NO_PROXY": "10.1.2.3"}, None),
        ("http://11.1.2.3:9000", {"HTTP_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, P),
        ("http://[fd00::1]:9000", {"HTTP_PROXY": P, "NO_PROXY": "fd00::/8"}, None),
        # loopback, always
        ("http://127.0.0.1:9000", {"ALL_PROXY": P}, None),
        ("http://127.1.2.3:9000", {"HTTP_PROXY": P}, None),
        ("http://localhost:9000", {"HTTP_PROXY": P}, None),
        ("https://[::1]:9000", {"HTTPS_PROXY": P}, None),
    ],
)
def test_proxy_of_a_store(url: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(url, environment) == proxy


@pytest.mark.parametrize("value", ["socks5://u:hunter2@h:1", "http://u:hunter2@h:1/path", "http://", "http://a b"])
def test_what_is_no_proxy_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY") as caught:
        proxy_for("https://s3.org", {"HTTPS_PROXY": value})
    assert "hunter2" not in str(caught.value)
