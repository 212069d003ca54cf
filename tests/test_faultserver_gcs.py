"""The fault server's GCS dialect: listings by the JSON API, tokens, dates of metadata; and obstore as its client."""

import json
import urllib.error
import urllib.request
from typing import Any

import obstore
import pytest
from faultserver import Bearer, Fault, FaultServer, Status
from obstore.store import GCSStore


def ask(server: FaultServer, target: str, token: str | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(server.url + target)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_json_listing_goes_on_by_tokens_to_every_key_once() -> None:
    with FaultServer("gcs") as server:
        for number in range(5):
            server.put("b", f"m/{number}", b"12")
        server.put("b", "n", b"")
        names, token = [], ""
        for _ in range(3):
            status, page = ask(server, f"/storage/v1/b/b/o?prefix=m%2F&maxResults=2&pageToken={token}")
            assert (status, page["kind"]) == (200, "storage#objects")
            names += [(item["name"], item["size"]) for item in page["items"]]
            token = page.get("nextPageToken", "")
        assert token == ""
        assert names == [(f"m/{number}", "2") for number in range(5)]
        assert [(each.kind, each.bucket, each.page) for each in server.requests()] == [
            ("list", "b", 1),
            ("list", "b", 2),
            ("list", "b", 3),
        ]


def test_json_listing_of_nothing_has_no_items() -> None:
    with FaultServer("gcs") as server:
        server.create_bucket("b")
        assert ask(server, "/storage/v1/b/b/o") == (200, {"kind": "storage#objects"})


def test_json_listing_tells_prefixes() -> None:
    with FaultServer("gcs") as server:
        server.put("b", "m/x", b"")
        assert ask(server, "/storage/v1/b/b/o?delimiter=%2F")[1]["prefixes"] == ["m/"]


def test_errors_of_the_json_api_are_json() -> None:
    with FaultServer("gcs") as server:
        server.create_bucket("b")
        status, told = ask(server, "/storage/v1/b/none/o")
        assert (status, told["error"]["code"], told["error"]["errors"][0]["reason"]) == (404, 404, "notFound")
        server.fail(Fault(Status(503), kind="list"))
        assert ask(server, "/storage/v1/b/b/o")[0] == 503


def test_only_who_has_the_token_is_let_in() -> None:
    keys = Bearer("one")
    with FaultServer("gcs", keys=keys) as server:
        server.create_bucket("b")
        assert [ask(server, "/storage/v1/b/b/o", token)[0] for token in (None, "two", "one")] == [401, 401, 200]
        keys.tokens = {"two"}
        assert [ask(server, "/storage/v1/b/b/o", token)[0] for token in ("one", "two")] == [401, 200]


def test_change_of_metadata_moves_updated_and_not_created() -> None:
    with FaultServer("gcs") as server:
        server.put("b", "k", b"", mtime_ns=1_700_000_000_000_000_000)
        server.touch("b", "k", mtime_ns=1_800_000_000_000_000_000)
        (item,) = ask(server, "/storage/v1/b/b/o")[1]["items"]
        assert (item["timeCreated"], item["updated"]) == ("2023-11-14T22:13:20.000Z", "2027-01-15T08:00:00.000Z")


def test_bucket_called_storage_is_a_bucket_of_s3() -> None:
    with FaultServer("s3") as server:
        server.put("storage", "v1/b/b/o", b"{}")
        assert ask(server, "/storage/v1/b/b/o") == (200, {})


def test_obstore_reads_and_lists_the_gcs_dialect() -> None:
    with FaultServer("gcs") as server:
        made = server.put("b", "a/k", b"content")
        account = {"gcs_base_url": server.url, "disable_oauth": True, "client_email": "", "private_key": ""}
        account["private_key_id"] = ""
        store = GCSStore("b", service_account_key=json.dumps(account), client_options={"allow_http": True})
        assert [each["path"] for page in store.list() for each in page] == ["a/k"]
        found = obstore.get(store, "a/k", options={"range": (1, 4), "version": str(made.generation)})
        assert (bytes(found.bytes()), found.meta["version"]) == (b"ont", str(made.generation))
        with pytest.raises(FileNotFoundError):
            obstore.get(store, "a/k", options={"version": "1"})
