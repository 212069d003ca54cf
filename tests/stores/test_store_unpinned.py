"""The engine for every other URL: what cannot be pinned is compared as well as can be, and nobody is led elsewhere."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import fsspec.config
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from stores.unpinned_venues import open_unpinned
from tls_front import TlsFront, make_authority, server_context
from web_server import WebServer

from modelfs.blocks import ObjectInfo
from modelfs.engines import open_store
from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    UsageError,
    VersionGoneError,
)
from modelfs.location import parse
from modelfs.store import Page, Store

PAGES = 200  # a bound for what must end


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


def listed(store: Store) -> dict[str, ObjectInfo]:
    found: dict[str, ObjectInfo] = {}
    token: str | None = None
    for _ in range(PAGES):
        page = store.list_page(token)
        found |= {info.key: info for info in page.objects}
        token = page.next_token
        if token is None:
            return found
    pytest.fail("the listing does not end")


# who may come in


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "add --engine fsspec --allow-unpinned"),
        ({"engine": "fsspec"}, "add --allow-unpinned"),
        ({"engine": "obstore", "allow_unpinned": True}, "add --engine fsspec"),
    ],
)
def test_what_cannot_be_pinned_is_refused_until_it_is_allowed(given: dict[str, Any], missing: str) -> None:
    rest: dict[str, Any] = {
        "region": None,
        "connect_timeout_s": 1,
        "stall_timeout_s": 1,
        "max_connections": 1,
        "environment": {},
    }
    with pytest.raises(UsageError, match="two versions") as caught:
        open_store(parse("sftp://me:hunter2@host/models"), **given, **rest)
    assert str(caught.value).endswith(missing)
    assert "hunter2" not in str(caught.value)


def test_unknown_scheme_is_told_as_such_also_without_the_flags() -> None:
    rest: dict[str, Any] = {"connect_timeout_s": 1, "stall_timeout_s": 1, "max_connections": 1, "environment": {}}
    with pytest.raises(UsageError, match="s4:// is not a kind of location"):
        open_store(parse("s4://bucket/x"), region=None, **rest)


def test_missing_package_is_one_sentence_that_names_it() -> None:
    fsspec.register_implementation("absent", "no_such_package_of_ours.driver.Driver", clobber=True)
    with pytest.raises(UsageError, match=r"pip install no_such_package_of_ours'$"):
        open_unpinned("absent://host/models")


# where the web leads


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_redirect_to_another_host_or_port_is_never_followed(web: WebServer, host: str) -> None:
    with WebServer() as elsewhere:
        elsewhere.put("/repo/m/x", b"secret")
        web.put("/repo/m/x", b"listed")
        store = open_unpinned(f"http://me:hunter2@127.0.0.1:{web.port}/repo")
        info = listed(store)["m/x"]
        target = f"http://{host}:{elsewhere.port}/repo/m/"
        web.redirects["/repo/m/x"] = f"{target}x?token=hunter2"
        with pytest.raises(StoreRefusedError, match="redirects to http://") as caught:
            store.read(info, 0, 6)
        assert "hunter2" not in str(caught.value)
        with pytest.raises(StoreRefusedError, match="redirects to"):
            listed(store)  # which asks for the size of m/x
        web.redirects["/repo/m/"] = target
        with pytest.raises(StoreRefusedError, match="redirects to"):
            listed(store)
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "target", ["//127.0.0.1:9/x", "http:/\\127.0.0.1:9/x", "http://127.0.0.1:9\\@127.0.0.1/", "ftp://h/"]
)
def test_odd_redirect_leads_nowhere_else(web: WebServer, target: str) -> None:
    web.put("/repo/m/x", b"listed")
    store = open_unpinned(f"{web.url}/repo")
    info = listed(store)["m/x"]
    web.redirects["/repo/m/x"] = target
    with pytest.raises((StoreRefusedError, VersionGoneError)):
        store.read(info, 0, 6)


def test_redirect_on_the_same_host_is_followed(web: WebServer) -> None:
    web.put("/blobs/1", b"content")
    web.put("/repo/m/x", b"replaced by the redirect")
    web.redirects["/repo/m/x"] = "/blobs/1"
    store = open_unpinned(f"{web.url}/repo")
    info = listed(store)["m/x"]
    assert bytes(store.read(info, 0, info.size)) == b"content"


def test_links_that_lead_elsewhere_are_not_even_asked_for(web: WebServer) -> None:
    web.put("/secret/x", b"secret")
    web.put("/repo/ok", b"content")
    links = [
        "../secret/x",
        "%2e%2e/secret/x",
        "%2E%2E/",
        "./",
        "/secret/x",
        "//127.0.0.1:9/x",
        "http://127.0.0.1:9/x",
        f"{web.url}/secret/x",
        f"{web.url}/repo/../secret/x",
        f"{web.url}/repo-2/x",
        "a%2Fb",
        "..%2fsecret%2fx",
        "m/1/x",
        "nul%00",
        "bad%ff",
        "?C=N;O=D",
        "#top",
        "javascript:alert(1)",
    ]
    web.pages["/repo/"] = "".join(f'<a href="{link}">x</a>' for link in [*links, "ok"])
    assert listed(open_unpinned(f"{web.url}/repo")).keys() == {"ok"}
    asked = {request.path for request in web.requests}
    assert asked <= {"/repo/", "/repo/ok", "/repo/javascript:alert(1)"}


def test_folders_without_end_have_one(web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    for depth in range(PAGES):
        web.pages["/repo/" + "a/" * depth] = '<a href="a/">deeper</a><a href="a/">deeper</a>'
    assert listed(open_unpinned(f"{web.url}/repo")).keys() == {"a/" * 64}  # an empty folder, for all we look
    assert "it lies too deep" in caplog.text
    assert len(web.requests) < PAGES


# what the web answers


def test_user_and_password_of_the_url_are_sent_and_never_shown(web: WebServer) -> None:
    web.login = "me:hunter2/ü"
    web.put("/repo/m/x", b"content")
    store = open_unpinned(f"http://me:hunter2%2F%C3%BC@127.0.0.1:{web.port}/repo")
    assert bytes(store.read(listed(store)["m/x"], 0, 7)) == b"content"
    for user in ("", "me:hunter1@"):
        with pytest.raises(AccessRefusedError) as caught:
            listed(open_unpinned(f"http://{user}127.0.0.1:{web.port}/repo"))
        assert "hunter" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_fsspec_s_own_configuration_adds_headers_and_cannot_open_what_the_guard_shuts(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "headers": {"Authorization": "Bearer token"},
        "allow_redirects": False,
        "client_kwargs": {"trust_env": True},
    }
    monkeypatch.setitem(fsspec.config.conf, "http", given)
    web.put("/repo/m/x", b"content")
    web.put("/blobs/1", b"content")
    web.redirects["/repo/m/x"] = "/blobs/1"  # whose answer has a body too, which is no file
    store = open_unpinned(f"{web.url}/repo")
    assert bytes(store.read(listed(store)["m/x"], 0, 7)) == b"content"
    assert {request.authorization for request in web.requests} == {"Bearer token"}


def test_https_is_read_with_the_authority_that_is_named(web: WebServer, tmp_path: Path) -> None:
    make_authority(tmp_path)
    web.put("/repo/m/x", b"content")
    with TlsFront(web.port, server_context(tmp_path)) as port:
        store = open_unpinned(f"https://127.0.0.1:{port}/repo", ca_bundle=str(tmp_path / "ca.pem"))
        assert bytes(store.read(listed(store)["m/x"], 0, 7)) == b"content"
        with pytest.raises(StoreRefusedError, match="certificate is not trusted"):
            listed(open_unpinned(f"https://127.0.0.1:{port}/repo"))
        web.redirects["/repo/m/x"] = f"{web.url}/repo/m/x"  # to plain HTTP
        with pytest.raises(StoreRefusedError, match="redirects to http://"):
            listed(store)


@pytest.mark.parametrize("has_etags", [True, False])
def test_object_that_is_replaced_before_its_bytes_are_sent_is_refused(web: WebServer, *, has_etags: bool) -> None:
    web.has_etags = has_etags
    web.put("/repo/m/x", b"old content", modified_s=1_700_000_000)
    store = open_unpinned(f"{web.url}/repo")
    info = listed(store)["m/x"]
    assert info.mtime_ns == 1_700_000_000_000_000_000
    later_s = 1_700_000_000 + (not has_etags)  # each of the two is told by one header alone
    web.before_bytes = lambda path: web.put(path, b"new content", modified_s=later_s)
    with pytest.raises(VersionGoneError, match="m/x"):
        store.read(info, 0, 3)


def test_server_without_ranges_gives_whole_files_alone(web: WebServer) -> None:
    web.has_ranges = False
    web.put("/repo/m/x", b"content")
    store = open_unpinned(f"{web.url}/repo")
    info = listed(store)["m/x"]
    assert bytes(store.read(info, 0, 7)) == b"content"
    with pytest.raises(StoreRefusedError, match="does not answer ranges"):
        store.read(info, 0, 3)


def test_file_of_unknown_size_is_not_shown_and_told(web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    web.put("/repo/m/x", b"content")
    web.has_lengths = False
    assert listed(open_unpinned(f"{web.url}/repo")) == {}
    assert "its size is unknown" in caplog.text
    assert "'m/x'" in caplog.text


def test_link_that_leads_nowhere_is_not_shown_and_told(web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    web.put("/repo/there", b"content")
    web.pages["/repo/"] = '<a href="there">x</a><a href="gone">x</a>'
    assert listed(open_unpinned(f"{web.url}/repo")).keys() == {"there"}
    assert "the link leads nowhere key='gone'" in caplog.text


def test_page_of_a_folder_is_never_taken_for_a_file(web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    web.put("/repo/m/x", b"content")
    web.pages["/repo/"] = '<a href="m">a folder without its slash</a>'
    web.redirects["/repo/m"] = "/repo/m/"
    assert listed(open_unpinned(f"{web.url}/repo")) == {}
    assert "it is a folder whose link lacks the slash key='m'" in caplog.text


@pytest.mark.parametrize("path", ["/repo/", "/repo/m/", "/repo/m/x"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, StoreRefusedError),
        (302, StoreRefusedError),  # without a target
        (304, StoreRefusedError),
        (400, StoreRefusedError),
        (401, AccessRefusedError),
        (403, AccessRefusedError),
        (429, StoreUnavailableError),
        (500, StoreUnavailableError),
        (503, StoreUnavailableError),
    ],
)
def test_answer_that_is_no_listing_fails_the_whole_listing(
    web: WebServer, path: str, status: int, kind: type[Exception]
) -> None:
    web.put("/repo/m/x", b"content")
    store = open_unpinned(f"{web.url}/repo")
    web.statuses[path] = status
    with pytest.raises(kind) as caught:
        listed(store)
    assert type(caught.value) is kind
    web.statuses.clear()
    assert listed(store).keys() == {"m/x"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, StoreRefusedError),
        (206, CorruptAnswerError),
        (302, StoreRefusedError),
        (404, VersionGoneError),
        (412, VersionGoneError),
        (416, VersionGoneError),
        (503, StoreUnavailableError),
    ],
)
def test_answer_that_is_no_range_is_never_taken_for_bytes(web: WebServer, status: int, kind: type[Exception]) -> None:
    web.put("/repo/m/x", b"this was a file")  # as long as what is answered in its place
    store = open_unpinned(f"{web.url}/repo")
    info = listed(store)["m/x"]
    web.statuses["/repo/m/x"] = status
    with pytest.raises(kind):
        store.read(info, 1, 14)


def test_server_that_is_not_there_or_silent_is_worth_a_retry(web: WebServer) -> None:
    with WebServer() as gone:
        pass
    with pytest.raises(StoreUnavailableError, match="cannot be connected to"):
        listed(open_unpinned(f"{gone.url}/repo"))
    web.put("/repo/m/x", b"content")
    store = open_unpinned(f"{web.url}/repo", stall_timeout_s=0.2)
    info = listed(store)["m/x"]
    web.before_bytes = lambda _path: time.sleep(1)
    with pytest.raises(StoreUnavailableError, match="stopped answering"):
        store.read(info, 0, 3)


# other drivers


class Odd(MemoryFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """A driver that a test bends. What it holds is its own."""

    protocol = "odd"
    store: dict[str, Any] = {}  # noqa: RUF012  as in the class above
    pseudo_dirs = [""]  # noqa: RUF012  as in the class above
    instances = 0
    fault: Exception | None = None
    replacement: bytes | None = None
    most: int | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        Odd.instances += 1

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("odd://")))

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:  # noqa: ARG002, FBT001, FBT002  fsspec's signature
        """List, without a word on times."""
        if Odd.fault is not None:
            raise Odd.fault
        entries = super().ls(path, detail=True, **more)
        for entry in entries:
            entry.pop("created", None)
        return entries

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **more: Any) -> bytes:
        """Read, while somebody writes."""
        data: bytes = super().cat_file(path, start, end, **more)
        if Odd.replacement is not None:
            self.pipe_file(path, Odd.replacement)
        return data[: Odd.most]


@pytest.fixture
def odd() -> Iterator[MemoryFileSystem]:
    fsspec.register_implementation("odd", f"{__name__}.Odd", clobber=True)
    fsspec.register_implementation("odd", Odd, clobber=True)
    yield Odd(skip_instance_cache=True)
    Odd.store.clear()
    Odd.pseudo_dirs[:] = [""]
    Odd.instances, Odd.fault, Odd.replacement, Odd.most = 0, None, None, None


def test_driver_that_tells_only_sizes_gives_files_without_a_date(odd: MemoryFileSystem) -> None:
    odd.pipe_file("/repo/m/x", b"content")
    info = listed(open_unpinned("odd://repo"))["m/x"]
    assert (info.size, info.mtime_ns, info.version) == (7, 0, '{"size": 7}')


def test_file_is_looked_at_after_the_read_for_what_changed_during_it(odd: MemoryFileSystem) -> None:
    odd.pipe_file("/repo/m/x", b"content")
    store = open_unpinned("odd://repo")
    info = listed(store)["m/x"]
    Odd.replacement = b"longer content"
    with pytest.raises(VersionGoneError, match="m/x"):
        store.read(info, 0, 3)


def test_answer_that_is_short_is_never_taken_for_the_bytes(odd: MemoryFileSystem) -> None:
    odd.pipe_file("/repo/m/x", b"content")
    store = open_unpinned("odd://repo")
    info = listed(store)["m/x"]
    Odd.most = 2
    with pytest.raises(CorruptAnswerError, match="2 bytes in place of 3"):
        store.read(info, 0, 3)


def test_instance_that_failed_is_not_used_again(odd: MemoryFileSystem) -> None:
    odd.pipe_file("/repo/x", b"content")
    store = open_unpinned("odd://repo")
    before = Odd.instances
    listed(store)
    listed(store)
    assert Odd.instances == before + 1
    Odd.fault = ConnectionResetError("by hunter2")
    with pytest.raises(StoreUnavailableError) as caught:
        listed(store)
    assert "hunter2" not in str(caught.value)
    Odd.fault = None
    assert listed(store).keys() == {"x"}
    assert Odd.instances == before + 2


def test_folder_that_vanishes_during_the_listing_is_left_out_but_never_the_root(odd: MemoryFileSystem) -> None:
    odd.pipe_file("/repo/m/x", b"content")
    store = open_unpinned("odd://repo")
    token = store.list_page(None).next_token
    odd.rm("/repo/m", recursive=True)
    assert store.list_page(token) == Page([], None)
    with pytest.raises(ObjectNotFoundError):
        store.list_page(None)
