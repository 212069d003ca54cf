"""The fault server's Azure dialect and its unsorted listings, as their clients see them."""

import urllib.error
import urllib.request
import xml.etree.ElementTree as ET

import pytest
from faultserver import Bearer, DialectName, Fault, FaultServer, Status

LIST = "/account/models?restype=container&comp=list&include=metadata"


def ask(server: FaultServer, target: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + target, headers=sent), timeout=30) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def entries(body: bytes) -> list[tuple[str, str | None, str | None]]:
    """Return name, resource type and hdi_isfolder of each blob."""
    blobs = ET.fromstring(body).iterfind("Blobs/Blob")  # noqa: S314  our own server's
    return [
        (
            each.findtext("Name", ""),
            each.findtext("Properties/ResourceType"),
            each.findtext("Metadata/hdi_isfolder"),
        )
        for each in blobs
    ]


def marker(body: bytes) -> str:
    return ET.fromstring(body).findtext("NextMarker", "")  # noqa: S314  our own server's


def test_listing_goes_on_by_markers_to_every_blob_once() -> None:
    with FaultServer("azure") as server:
        for number in range(5):
            server.put("models", f"m/{number}", b"12")
        names, token = [], ""
        for _ in range(3):
            status, body, _ = ask(server, f"{LIST}&prefix=m%2F&maxresults=2&marker={token}")
            assert status == 200
            names += [name for name, _, _ in entries(body)]
            token = marker(body)
        assert (names, token) == ([f"m/{number}" for number in range(5)], "")
        assert [each.page for each in server.requests(kind="list")] == [1, 2, 3]


@pytest.mark.parametrize(("dialect", "kind"), [("azure", None), ("azure, hierarchical", "directory")])
def test_folder_is_told_as_the_namespace_has_it(dialect: DialectName, kind: str | None) -> None:
    with FaultServer(dialect) as server:
        server.put("models", "m/1/", b"")
        server.put("models", "m/x", b"1")
        assert entries(ask(server, LIST)[1]) == [("m/1", kind, "true"), ("m/x", kind and "file", None)]
        assert entries(ask(server, LIST.partition("&include")[0])[1])[0][2] is None


def test_name_that_xml_cannot_hold_is_encoded_and_says_so() -> None:
    with FaultServer("azure") as server:
        server.put("models", "a\x01 é", b"")
        name = ET.fromstring(ask(server, LIST)[1]).find("Blobs/Blob/Name")  # noqa: S314  our own server's
        assert name is not None
        assert (name.get("Encoded"), name.text) == ("true", "a%01%20%C3%A9")


def test_read_is_pinned_by_etag_and_ranged_by_either_header() -> None:
    with FaultServer("azure") as server:
        etag = server.put("models", "m/x", b"0123456789").etag
        assert ask(server, "/account/models/m/x", x_ms_range="bytes=2-4")[:2] == (206, b"234")
        assert ask(server, "/account/models/m/x", Range="bytes=2-4", If_Match=etag)[:2] == (206, b"234")
        status, body, headers = ask(server, "/account/models/m/x", If_Match='"other"')
        assert (status, headers["x-ms-error-code"]) == (412, "ConditionNotMet")
        assert b"<Code>ConditionNotMet</Code>" in body


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/account/models/none", 404, "BlobNotFound"),
        ("/account/none?restype=container&comp=list", 404, "ContainerNotFound"),
    ],
)
def test_what_is_not_there_has_azures_code(target: str, status: int, code: str) -> None:
    with FaultServer("azure") as server:
        server.create_bucket("models")
        found, _, headers = ask(server, target)
        assert (found, headers["x-ms-error-code"]) == (status, code)


def test_scripted_fault_has_azures_code() -> None:
    with FaultServer("azure") as server:
        server.put("models", "x", b"")
        server.fail(Fault(Status(503)))
        assert ask(server, LIST)[2]["x-ms-error-code"] == "ServerBusy"


def test_only_who_has_the_token_is_let_in() -> None:
    with FaultServer("azure", keys=Bearer("good")) as server:
        server.put("models", "x", b"1")
        assert ask(server, "/account/models/x", Authorization="Bearer good")[0] == 200
        status, _, headers = ask(server, "/account/models/x", Authorization="Bearer bad")
        assert (status, headers["x-ms-error-code"]) == (401, "InvalidAuthenticationInfo")


def test_unsorted_listing_tells_every_key_once_and_not_in_order() -> None:
    keys = [f"k{number:02d}" for number in range(50)]
    with FaultServer("azure", unsorted=True) as server:
        for key in keys:
            server.put("models", key, b"")
        found: list[str] = []
        token = ""
        for _ in range(100):
            body = ask(server, f"{LIST}&maxresults=7&marker={token}")[1]
            found += [name for name, _, _ in entries(body)]
            token = marker(body)
            if not token:
                break
        assert sorted(found) == keys
        assert found != keys
        for key in ("folder/a", "folder/b", "folder/c/d"):
            server.put("models", key, b"")
        level = ask(server, f"{LIST}&delimiter=%2F")[1]
        assert level.count(b"<BlobPrefix><Name>folder/</Name></BlobPrefix>") == 1
        assert sorted(name for name, _, _ in entries(level)) == keys
