"""Every exception of the libraries below Azure becomes one of ours, and nothing of their text is told."""

import obstore.exceptions
import pytest
from stores.test_s3_errors import OBSTORE, named

from modelfs.azure_errors import _ABSENT, _ACCESS, _REFUSED, Refusal, from_refusal
from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ModelfsError,
    ObjectArchivedError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)
from modelfs.obstore_azure import from_obstore
from modelfs.obstore_errors import OBSTORE_ERRORS

URL = "GET https://a.blob.core.windows.net/c/x?sig=hunter2"


@pytest.mark.parametrize("name", OBSTORE)
def test_obstore_error_becomes_ours_and_is_not_quoted(name: str) -> None:
    error = named(name, obstore.exceptions)(f"some text {URL}")
    assert isinstance(error, OBSTORE_ERRORS)
    ours = from_obstore(error, what="cannot read 'm/x'")
    assert type(ours) is OBSTORE[name]
    assert "hunter2" not in str(ours)
    assert "AWS" not in str(ours)
    assert "s3:" not in str(ours)


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("404 Not Found: <Code>BlobNotFound</Code>", VersionGoneError),
        ("404 Not Found", StoreUnavailableError),
        ("404 Not Found: <Code>ContainerNotFound</Code>", ObjectNotFoundError),
        ("412 Precondition Failed: <Code>ConditionNotMet</Code>", VersionGoneError),
        ("416 Range: <Code>InvalidRange</Code>", VersionGoneError),
        ("403 Forbidden: <Code>AuthenticationFailed</Code>", AccessRefusedError),
        ("401 Unauthorized", AccessRefusedError),
        ("409 Conflict: <Code>BlobArchived</Code>", ObjectArchivedError),
        ("503 Busy: <Code>ServerBusy</Code>", StoreUnavailableError),
    ],
)
def test_answer_to_a_read_is_told_by_its_status(text: str, ours: type[ModelfsError]) -> None:
    kind: type[Exception] = obstore.exceptions.GenericError
    if text.startswith("404"):
        kind = FileNotFoundError
    elif text.startswith("412"):
        kind = obstore.exceptions.PreconditionError
    assert type(from_obstore(kind(f"{URL} - Server returned non-2xx status code: {text}"), what="x")) is ours


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("InvalidCertificate( UnknownIssuer )", StoreRefusedError),
        ("Received redirect without LOCATION", StoreRefusedError),
        ("source: UnexpectedRange { expected: 10..20 }", CorruptAnswerError),
        ("ConnectError( dns error )", StoreUnavailableError),
    ],
)
def test_generic_error_is_told_by_its_text(text: str, ours: type[ModelfsError]) -> None:
    assert type(from_obstore(obstore.exceptions.GenericError(text), what="x")) is ours


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_is_an_error(status: int) -> None:
    ours = from_refusal(Refusal.of(status, "anything <Code>X</Code> at all"), what="cannot list as://a/c")
    assert str(ours).startswith(f"cannot list as://a/c: the store answers {status} X")
    assert isinstance(ours, StoreUnavailableError) == (status in {408, 425, 429} or (status >= 500 and status != 501))


@pytest.mark.parametrize("code", [*_ACCESS, *_ABSENT, *_REFUSED])
def test_every_code_has_its_advice(code: str) -> None:
    kind = AccessRefusedError if code in _ACCESS else ObjectNotFoundError if code in _ABSENT else StoreRefusedError
    ours = from_refusal(Refusal(409, code), what="x")
    assert type(ours) is kind
    assert str(ours).endswith({**_ACCESS, **_ABSENT, **_REFUSED}[code])


def test_complaint_of_the_credential_is_the_advice_for_a_refusal() -> None:
    ours = from_refusal(Refusal(403, "AuthenticationFailed"), what="x", complaint="the SAS expired")
    assert str(ours) == "x: the store answers 403 AuthenticationFailed; the SAS expired"


def test_only_the_code_is_read_from_a_body() -> None:
    body = "<Error><Code>X</Code><Message>secret</Message><AuthenticationErrorDetail>secret</AuthenticationErrorDetail>"
    assert Refusal.of(400, body) == Refusal(400, "X")
    assert Refusal.of(400, "<Code>not a code</Code>") == Refusal(400)
