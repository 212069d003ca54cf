"""Locations: the table of good and bad URLs, and what holds for every text."""

import pytest
from hypothesis import example, given
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
    "s3://host:9000/path/to/model/repository": Location(
        "s3", "to/model/repository", "path", endpoint="http://host:9000"
    ),
    "s3://https://host:9000/path/to/model/repository": Location(
        "s3", "to/model/repository", "path", endpoint="https://host:9000"
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
    "as://acct//container//p": Location("as", "p", "container", "acct"),
    f'as://acct/container/p?"?{SAS}"': Location("as", "p", "container", "acct", sas=SAS),
    f"AS://acct/container?? {SAS} ": Location("as", "", "container", "acct", sas=SAS),
    # Azure elsewhere
    "as://acct.blob.core.chinacloudapi.cn/c/p": Location(
        "as", "p", "c", "acct", endpoint="https://acct.blob.core.chinacloudapi.cn"
    ),
    "as://acct.blob.core.usgovcloudapi.net/c": Location(
        "as", "", "c", "acct", endpoint="https://acct.blob.core.usgovcloudapi.net"
    ),
    "as://acct.privatelink.blob.core.windows.net/c": Location(
        "as", "", "c", "acct", endpoint="https://acct.privatelink.blob.core.windows.net"
    ),
    "as://acct.z12.blob.storage.azure.net/c": Location(
        "as", "", "c", "acct", endpoint="https://acct.z12.blob.storage.azure.net"
    ),
    "as://ACCT.DFS.core.windows.net/c": Location("as", "", "c", "acct", endpoint="https://acct.blob.core.windows.net"),
    "as://models.contoso.com/c/p": Location("as", "p", "c", endpoint="https://models.contoso.com"),
    f"as://127.0.0.1:10000/devstoreaccount1/c/p?{SAS}": Location(
        "as", "p", "c", "devstoreaccount1", endpoint="http://127.0.0.1:10000", sas=SAS
    ),
    "as://azurite:10000/devstoreaccount1/c": Location(
        "as", "", "c", "devstoreaccount1", endpoint="http://azurite:10000"
    ),
    "as://[::1]:10000//devstoreaccount1//c": Location("as", "", "c", "devstoreaccount1", endpoint="http://[::1]:10000"),
    "as://127.0.0.1/devstoreaccount1/c": Location("as", "", "c", "devstoreaccount1", endpoint="http://127.0.0.1"),
    "as://https://azurite:10000/devstoreaccount1/c": Location(
        "as", "", "c", "devstoreaccount1", endpoint="https://azurite:10000"
    ),
    "as://http://acct.blob.localhost:10000/c": Location(
        "as", "", "c", "acct", endpoint="http://acct.blob.localhost:10000"
    ),
    # Azure as others call it
    f"az://acct/container/path?{SAS}": Location("as", "path", "container", "acct", sas=SAS),
    "az://c@acct.dfs.core.windows.net/p": Location(
        "as", "p", "c", "acct", endpoint="https://acct.blob.core.windows.net"
    ),
    "abfs://c@acct.dfs.core.windows.net/p/q": Location(
        "as", "p/q", "c", "acct", endpoint="https://acct.blob.core.windows.net"
    ),
    f"abfss://c@acct.dfs.core.windows.net?{SAS}": Location(
        "as", "", "c", "acct", endpoint="https://acct.blob.core.windows.net", sas=SAS
    ),
    "abfss://c@acct.dfs.core.chinacloudapi.cn/p": Location(
        "as", "p", "c", "acct", endpoint="https://acct.blob.core.chinacloudapi.cn"
    ),
    f"https://acct.blob.core.windows.net/container/a/b?{SAS}": Location(
        "as", "a/b", "container", "acct", endpoint="https://acct.blob.core.windows.net", sas=SAS
    ),
    "https://acct.blob.core.windows.net:443/c": Location(
        "as", "", "c", "acct", endpoint="https://acct.blob.core.windows.net:443"
    ),
    "https://acct.dfs.core.windows.net/c/a%20b/%C3%A9%3F": Location(
        "as", "a b/é?", "c", "acct", endpoint="https://acct.blob.core.windows.net"
    ),
    # as fsspec and Hadoop call these
    "gcs://bucket/path": Location("gs", "path", "bucket"),
    "s3a://bucket/path": Location("s3", "path", "bucket"),
    "local:///path": Location("file", "/path"),
    # what fsspec alone knows
    "http://host/models": Location("other", "", url="http://host/models"),
    "https://host/models//": Location("other", "", url="https://host/models"),
    "HTTP://Host:8000/A%20b/%C3%A9": Location("other", "", url="http://host:8000/A%20b/%C3%A9"),
    "https://host": Location("other", "", url="https://host"),
    "http://[::1]:8000/models": Location("other", "", url="http://[::1]:8000/models"),
    "https://me:hunter2%2F@host/models/": Location("other", "", url="https://me:hunter2%2F@host/models"),
    "https://blob.example.org/c": Location("other", "", url="https://blob.example.org/c"),
    "hf://user/repo@main/models": Location("other", "", url="hf://user/repo@main/models"),
    "sftp://me:hunter2@host:2222/srv/models": Location("other", "", url="sftp://me:hunter2@host:2222/srv/models"),
    "sftp://host": Location("other", "", url="sftp://host"),
    "SSH://[::1]/srv": Location("other", "", url="ssh://[::1]/srv"),
    "ftp://host/a b?c=hunter2": Location("other", "", url="ftp://host/a b?c=hunter2"),
    "github://org:repo@main/models": Location("other", "", url="github://org:repo@main/models"),
    "webdav://models": Location("other", "", url="webdav://models"),
    "memory://": Location("other", "", url="memory://"),
    "memory://a/b::c": Location("other", "", url="memory://a/b::c"),
}
BAD = {
    "": "the location is empty",
    "models": "'models' is neither an absolute path nor a URL",
    "./models": "neither an absolute path nor a URL",
    "s3:/bucket/x": "neither an absolute path nor a URL",
    "me:hunter2@host/models?sig=hunter2": "'host/models' is neither",
    "https://host/models?sig=hunter2": "no query or fragment: write ? as %3F",
    "http://host/models#hunter2": "no query or fragment",
    "http://me:hunter2@/models": "the host of the http:// URL",
    "http://host:hunter2/models": "the port of the http:// URL",
    "https://me:hunter2/x@host/models": "the port of the https:// URL",
    "https://a@hunter2@host/../x": "'.' or '..'",
    "http://host/%2e%2e/x": "'.' or '..'",
    "http://host/%ff": "percent-encode the bytes of UTF-8",
    "http://host/%0a": "control character",
    "http:///models": "the host of the http:// URL",
    "sftp://me:hunter2/x@host/srv": "the port of the sftp:// URL is not a number",
    "sftp://me:hunter2?x@host/srv": "percent-encoded",
    "zip://x::https://host/hunter2.zip": "zip:// is a layer over another location",
    "simplecache://host/x": "is a layer over another location",
    "simplecache::https://me:hunter2@host/x": "this is not a kind of location",
    "https://me:hunter2@acct.blob.core.windows.net/c": "AZURE_STORAGE_KEY",
    "https://acct.blob.core.windows.net/?sig=hunter2": "names no container",
    "https://acct.blob.core.windows.net/c/x#y": "write # as %23",
    "https://acct.blob.core.windows.net/c/%ff": "not valid UTF-8",
    "https://acct.blob.core.windows.net/c/%00": "control character",
    "https://acct.blob.core.windows.net/c/%2e%2e/x": "'.' or '..'",
    "hunter2 with a blank://x": "this is not a kind of location",
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
    # as Triton's documentation has them, with a word where the number stands
    "s3://host:port/path/to/model/repository": "the port",
    "s3://https://host:port/path/to/model/repository": "the port",
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
    "as://me:hunter2@acct.blob.core.windows.net/c": "letters and digits",
    "as://https://me:hunter2@host/acct/c": "AZURE_STORAGE_KEY",
    "as://host:0/acct/c": "the port of the as:// URL",
    "as://host:x/acct/c": "write as://host:port/account/container/path",
    "as://host:1/": "letters and digits",
    "as://host:1/acct": "names no container",
    "as://https://": "the host of the as:// URL",
    "as://acct/c/../x": "'.' or '..'",
    "az://": "letters and digits",
    "abfs://container/path": "write abfss://container@account.dfs.core.windows.net/path",
    "abfs://c@account/path": "write abfss://",
    "abfss://me:hunter2@acct.dfs.core.windows.net/c": "write abfss://",
    "abfss://@acct.dfs.core.windows.net/c": "write abfss://",
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
        (f"as://127.0.0.1:10000/acct/c/p?{SAS}", "as://127.0.0.1:10000/acct/c/p?***"),
        ("as://https://azurite:10000/acct/c", "as://https://azurite:10000/acct/c"),
        ("as://https://azurite/acct/c", "as://https://azurite/acct/c"),
        ("as://models.contoso.com/c/p", "as://models.contoso.com/c/p"),
        (f"abfss://c@acct.dfs.core.windows.net/p?{SAS}", "as://acct.blob.core.windows.net/c/p?***"),
        ("https://acct.blob.core.windows.net/c/a%20b%3F", "as://acct.blob.core.windows.net/c/a%20b%3F"),
        ("https://me:hunter2@host:8443/a%20b/", "https://***@host:8443/a%20b"),
        ("sftp://hunter2@host/a b?c=hunter2", "sftp://***@host/a%20b?***"),
        ("hf://user/repo@main/models", "hf://user/repo@main/models"),
        ("github://org:hunter2@main", "github://***@main"),
        ("memory://", "memory://"),
    ],
)
def test_display_is_the_url_without_secrets_and_blanks(url: str, shown: str) -> None:
    assert parse(url).display == shown


@pytest.mark.parametrize("url", [f"as://acct/container?{SAS}", "sftp://me:hunter2@host/x"])
def test_repr_hides_the_token(url: str) -> None:
    assert "hunter2" not in repr(parse(url))


def test_protocol_is_what_stands_before_the_colon_also_of_what_fsspec_alone_knows() -> None:
    assert [parse(url).protocol for url in ("/x", "gcs://b", "HTTPS://h/x", "sftp://h")] == [
        "file",
        "gs",
        "https",
        "sftp",
    ]


@pytest.mark.parametrize("url", GOOD)
def test_display_means_the_same_place(url: str) -> None:
    there, shown = GOOD[url], parse(GOOD[url].display)
    if there.scheme != "file":
        assert (shown.endpoint, shown.account, shown.bucket) == (there.endpoint, there.account, there.bucket)


PIECES = st.one_of(
    st.sampled_from(
        [
            "s3://",
            "gs://",
            "as://",
            "az://",
            "abfs://",
            "c@",
            "sftp://",
            "hf://",
            "file://",
            "http://",
            "https://",
            "bucket",
            "a.blob.core.x",
            "sig=",
        ]
    ),
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
@example("A://#@:")
@example("a://h#@b:c")
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
