"""Addresses: AWS's own by botocore's rules, somebody's as they are written."""

import sys
from subprocess import run

import pytest

from modelfs.errors import UsageError
from modelfs.s3_address import Where, check_endpoint, resolve


@pytest.mark.parametrize(
    ("bucket", "region", "where", "url"),
    [
        ("bkt", "us-east-1", Where(), "https://bkt.s3.us-east-1.amazonaws.com"),
        ("bkt", "eu-west-3", Where(), "https://bkt.s3.eu-west-3.amazonaws.com"),
        ("bkt", "cn-north-1", Where(), "https://bkt.s3.cn-north-1.amazonaws.com.cn"),
        ("bkt", "us-gov-west-1", Where(), "https://bkt.s3.us-gov-west-1.amazonaws.com"),
        ("bkt", "eusc-de-east-1", Where(), "https://bkt.s3.eusc-de-east-1.amazonaws.eu"),
        ("bkt", "us-isob-east-1", Where(), "https://bkt.s3.us-isob-east-1.sc2s.sgov.gov"),
        ("bkt", "newland-1", Where(), "https://bkt.s3.newland-1.amazonaws.com"),
        ("demo-bucket1.0", "eu-west-3", Where(), "https://s3.eu-west-3.amazonaws.com/demo-bucket1.0"),
        ("Old_Bucket", "us-east-1", Where(), "https://s3.us-east-1.amazonaws.com/Old_Bucket"),
        ("bkt", "eu-west-3", Where(None, "path"), "https://s3.eu-west-3.amazonaws.com/bkt"),
        ("bkt", "eu-west-3", Where(use_dual_stack=True), "https://bkt.s3.dualstack.eu-west-3.amazonaws.com"),
        (
            "bkt",
            "cn-north-1",
            Where(None, "path", use_dual_stack=True),
            "https://s3.dualstack.cn-north-1.amazonaws.com.cn/bkt",
        ),
        ("bkt", "us-east-1", Where(use_fips=True), "https://bkt.s3-fips.us-east-1.amazonaws.com"),
        (
            "bkt",
            "us-gov-east-1",
            Where(use_fips=True, use_dual_stack=True),
            "https://bkt.s3-fips.dualstack.us-gov-east-1.amazonaws.com",
        ),
        ("bkt", "r", Where("http://minio:9000"), "http://minio:9000/bkt"),
        ("bkt", "r", Where("http://minio:80"), "http://minio/bkt"),
        ("bkt", "r", Where("https://minio:443"), "https://minio/bkt"),
        ("bkt", "r", Where("http://minio:443"), "http://minio:443/bkt"),
        ("bkt", "r", Where("https://S3.Example.org/"), "https://s3.example.org/bkt"),
        ("bkt", "r", Where("https://s3.example.org:8443", "virtual"), "https://bkt.s3.example.org:8443"),
        ("bkt", "r", Where("http://[::1]:9000"), "http://[::1]:9000/bkt"),
    ],
)
def test_bucket_has_one_address(bucket: str, region: str, where: Where, url: str) -> None:
    assert resolve(bucket, region, where).url == url


def test_bucket_that_cannot_stand_in_a_host_name_is_refused_there() -> None:
    with pytest.raises(UsageError, match="--addressing-style path"):
        resolve("demo.bucket", "eu-west-3", Where(None, "virtual"))


def test_fips_where_aws_has_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cn-north-1"):
        resolve("bkt", "cn-north-1", Where(use_fips=True))


@pytest.mark.parametrize(
    "url",
    ["", "minio:9000", "ftp://x", "http://", "http://h/path", "http://h?q=hunter2", "http://u:hunter2@h", "http://h:0"],
)
def test_what_is_no_endpoint_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(UsageError, match="--endpoint-url") as caught:
        check_endpoint(url)
    assert "hunter2" not in str(caught.value)


def test_endpoint_of_a_private_store_costs_no_botocore() -> None:
    program = (
        "import sys; from modelfs.s3_address import Where, resolve; resolve('b', 'r', Where('http://minio:9000')); "
        "sys.exit(any(name.startswith('botocore') for name in sys.modules))"
    )
    assert run([sys.executable, "-c", program], check=False).returncode == 0


def test_endpoint_of_aws_costs_no_session() -> None:
    program = (
        "import sys; from modelfs.s3_address import Where, resolve; resolve('b', 'eu-west-3', Where()); "
        "sys.exit('botocore.session' in sys.modules)"
    )
    assert run([sys.executable, "-c", program], check=False).returncode == 0
