"""Locations: the table of good and bad URLs, and what holds for every text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfs.errors import UsageError
from modelfs.location import Location, parse

SAS = "sv=2024-11-04&sig=hunter2"

GOOD = {
    # local
    "/path/to/model/repository": Location("file", "/path/to/model/repository"),
    "/": Location("file", "/"),
    "//srv///models//": Location("file", "/srv/models"),
    "/srv/a b?c#d%20e": Location("file", "/srv/a b?c#d%20e"),
    "/srv/../models": Location("file", "/srv/../models"),
    "file:///path/to/models": Location("file", "/path/to/models"),
    "file://localhost/path": Location("file", "/path"),
    "file:///a%20b/%C3%A9%3F": Location("file", "/a b/é?"),
    "FILE:///x": Location("file", "/x"),
    # AWS
    "s3://bucket": Location("s3", "", "bucket"),
    "s3://bucket/": Location("s3", "", "bucket"),
    "s3://bucket/path/to/model/repository": Location("s3", "path/to/model/repository", "bucket"),
    "s3://bucket//path///to/": Location("s3", "path/to", "bucket"),
    "s3:///bucket/path": Location("s3", "path", "bucket"),
    "s3://demo-bucket1.0/Model_repo-1.0": Location("s3", "Model_repo-1.0", "demo-bucket1.0"),
    "s3://Old_Bucket/x": Location("s3", "x", "Old_Bucket"),
    "s3://bucket/a+b=c@d e/é": Location("s3", "a+b=c@d e/é", "bucket"),
    "s3://bucket/a%20b": Location("s3", "a%20b", "bucket"),
    "s3://bucket/what?": Location("s3", "what?", "bucket"),
    "s3://bucket/a:b/http://c": Location("s3", "a:b/http:/c", "bucket"),
    "s3://bucket/.hidden/..x": Location("s3", ".hidden/..x", "bucket"),
    # private S3
    "s3://host:9000/bucket": Location("s3", "", "bucket", endpoint="http://host:9000"),
    "s3://host:9000/bucket/path/to/model/repository": Location(
        "s3", "path/to/model/repository", "bucket", endpoint="http://host:9000"
    ),
    "s3://127.0.0.1:9000//bucket//a//b/": Location("s3", "a/b", "bucket", endpoint="http://127.0.0.1:9000"),
    "s3://http://host:9000/bucket/x": Location("s3", "x", "bucket", endpoint="http://host:9000"),
    "s3://https://host:9000/bucket/path/to/model/repository": Location(
        "s3", "path/to/model/repository", "bucket", endpoint="https://host:9000"
    ),
    "s3://https://s3.example.org/bucket/x": Location("s3", "x", "bucket", endpoint="https://s3.example.org"),
    "s3://HTTPS://S3.Example.org:443/B/x": Location("s3", "x", "B", endpoint="https://s3.example.org:443"),
    "s3://minio_1:9000/b/a b+c=d": Location("s3", "a b+c=d", "b", endpoint="http://minio_1:9000"),
    "s3://[::1]:9000/bucket/x": Location("s3", "x", "bucket", endpoint="http://[::1]:9000"),
    "s3://https://[fe80::1]:9000/bucket": Location("s3", "", "bucket", endpoint="https://[fe80::1]:9000"),
    "s3://[::1]/bucket": Location("s3", "", "bucket", endpoint="http://[::1]"),
    # Google
    "gs://bucket": Location("gs", "", "bucket"),
    "gs://bucket/path/to/model/repository": Location("gs", "path/to/model/repository", "bucket"),
    "gs://bucket//a//": Location("gs", "a", "bucket"),
    # Azure
    "as://account_name/container_name/path/to/model/repository": Location(
        "as", "path/to/model/repository", "container_name", "account_name"
    ),
    "as://accountname/container_name/path": Location("as", "path", "container_name", "accountname"),
    "as://vlammodel/testmodelrepo/": Location("as", "", "testmodelrepo", "vlammodel"),
    "as://acct/$web/x": Location("as", "x", "$web", "acct"),
    f"as://acct/container/a//b?{SAS}": Location("as", "a/b", "container", "acct", sas=SAS),
    f"as://acct/container?'?{SAS}'": Location("as", "", "container", "acct", sas=SAS),
    "as://acct.blob.core.windows.net/container/p": Location(
        "as", "p", "container", "acct", endpoint="https://acct.blob.core.windows.net"
    ),
}
BAD = {
    "": "the location is empty",
    "models": "'models' is neither an absolute path nor a URL",
    "./models": "neither an absolute path nor a URL",
    "s3:/bucket/x": "neither an absolute path nor a URL",
    "me:hunter2@host/models?sig=hunter2": "'host/models' is neither",
    "https://acct.blob.core.windows.net/c?sig=hunter2": "https:// is not a kind of location",
    "hunter2 with a blank://x": "this is not a kind of location",
    "http://host/models": "http:// is not a kind of location",
    "/srv/a\nb": "control character",
    "/srv/\udcff": "not valid UTF-8",
    "file://models/x": "write file:///path",
    "file://": "write file:///path",
    "file:///x?token=hunter2": "no query",
    "file:///x%ff": "not valid UTF-8",
    "file:///x%00": "control character",
    "s3://": "names no bucket: write s3://bucket/path",
    "s3:///": "names no bucket",
    "s3://bu cket/x": "'bu cket' is no bucket name",
    "s3://bucket?sig=hunter2": "'bucket' is no bucket name",
    "s3://../x": "'..' is no bucket name",
    "s3://bucket/a/../b": "'.' or '..' between slashes",
    "s3://bucket/./b": "'.' or '..' between slashes",
    "s3://bucket/" + "x" * 1025: "longer than the 1024 bytes",
    "s3://host:9000": "names no bucket: write s3://host:port/bucket/path",
    "s3://host:9000/": "names no bucket",
    "s3://host:0/bucket": "the port",
    "s3://host:65536/bucket": "the port",
    "s3://host:port/bucket": "the port",
    "s3://host:/bucket": "the port",
    "s3://https:/host/bucket": "the port",
    "s3://:9000/bucket": "the host",
    "s3://::1:9000/bucket": "in brackets as [::1]",
    "s3://[::1/bucket": "the host",
    "s3://http:///bucket": "names no bucket",
    "s3://me:hunter2@host:9000/bucket": "AWS_ACCESS_KEY_ID",
    "s3://https://me:hunter2@host/bucket": "AWS_ACCESS_KEY_ID",
    "s3://hunter2@bucket/x": "no user or password",
    "gs://": "names no bucket: write gs://bucket/path",
    "gs:///bucket": "names no bucket",
    "gs://bucket/..": "'.' or '..'",
    "as://acct": "names no container: write as://account/container/path",
    "as:///container/x": "letters and digits",
    f"as://me:hunter2@acct/container?{SAS}": "letters and digits",
    f"as://acct/?{SAS}": "names no container",
}


@pytest.mark.parametrize("url", GOOD)
def test_good_url_means_what_it_means_to_triton(url: str) -> None:
    assert parse(url) == GOOD[url]


@pytest.mark.parametrize("url", BAD)
def test_bad_url_is_one_clear_sentence_without_a_secret(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(url)
    message = str(caught.value)
    assert BAD[url] in message
    assert "\n" not in message
    assert "hunter2" not in message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/srv/models/", "/srv/models"),
        ("/srv/a b,c\\d'\"", "/srv/a%20b%2Cc%5Cd%27%22"),
        ("file:///a%20b", "/a%20b"),
        ("s3://bucket//a//b/", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/é\u2028", "s3://bucket/é%E2%80%A8"),
        ("s3://bucket/p?X-Amz-Signature=hunter2", "s3://bucket/p?***"),
        ("s3://http://h:1/b/p", "s3://h:1/b/p"),
        ("s3://https://h:1/b/p", "s3://https://h:1/b/p"),
        ("s3://[::1]:9000/b", "s3://[::1]:9000/b"),
        ("gs://bucket/a b", "gs://bucket/a%20b"),
        (f"as://acct/container/p?{SAS}", "as://acct/container/p?***"),
        (f"as://acct/container?{SAS}", "as://acct/container?***"),
        ("as://acct.blob.core.windows.net/c/p", "as://acct.blob.core.windows.net/c/p"),
    ],
)
def test_display_is_the_url_without_secrets_and_blanks(url: str, shown: str) -> None:
    assert parse(url).display == shown


def test_repr_hides_the_token() -> None:
    assert "hunter2" not in repr(parse(f"as://acct/container?{SAS}"))


PIECES = st.one_of(
    st.sampled_from(["s3://", "gs://", "as://", "file://", "http://", "https://", "bucket", "a.blob.core.x", "sig="]),
    st.sampled_from([*"/?@:%.# \né", "//", "..", "[::1]", "9000"]),
    st.text(max_size=4),
)
URLS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join))


def _parse_or_none(url: str) -> Location | None:
    try:
        return parse(url)
    except UsageError:
        return None


@given(URLS)
def test_parse_raises_nothing_but_usage_errors_and_display_is_idempotent(url: str) -> None:
    location = _parse_or_none(url)
    if location is None:
        return
    shown = location.display
    assert parse(shown).display == shown
    assert not set(shown) & set(" ,\\'\"\n")
    assert shown.isprintable()


@given(st.sampled_from([*GOOD, *BAD]))
def test_a_query_is_never_shown(url: str) -> None:
    secret = "hunter2"
    asked = f"{url}?token={secret}"
    if asked.startswith("/"):
        return  # a plain path has no query: what follows "?" is its name
    try:
        shown = parse(asked).display
    except UsageError as error:
        shown = str(error)
    assert secret not in shown


@given(st.text(alphabet="abc/", max_size=20))
def test_slashes_of_a_prefix_are_collapsed(path: str) -> None:
    prefix = parse(f"s3://bucket/{path}").prefix
    assert prefix == "/".join(filter(None, path.split("/")))
