"""Every exception of the libraries below S3 becomes one of ours."""

from collections.abc import Iterator

import obstore.exceptions
import pytest
import urllib3.exceptions

from modelfs.errors import (
    AccessRefusedError,
    CorruptAnswerError,
    ModelfsError,
    StoreRefusedError,
    StoreUnavailableError,
    VersionGoneError,
)
from modelfs.http_errors import URLLIB3_ERRORS, from_urllib3
from modelfs.obstore_errors import OBSTORE_ERRORS
from modelfs.obstore_s3 import from_obstore
from modelfs.s3_errors import Refusal, WrongRegionError, from_refusal

OBSTORE = {
    "AlreadyExistsError": StoreRefusedError,
    "BaseError": StoreUnavailableError,
    "GenericError": StoreUnavailableError,
    "InvalidPathError": StoreRefusedError,
    "JoinError": StoreUnavailableError,
    "NotFoundError": VersionGoneError,
    "NotModifiedError": StoreRefusedError,
    "NotSupportedError": StoreRefusedError,
    "PermissionDeniedError": AccessRefusedError,
    "PreconditionError": VersionGoneError,
    "UnauthenticatedError": AccessRefusedError,
    "UnknownConfigurationKeyError": StoreRefusedError,
    # and the builtins that obstore raises
    "FileNotFoundError": VersionGoneError,
    "NotImplementedError": StoreRefusedError,
    "OSError": StoreUnavailableError,
    "ValueError": StoreRefusedError,
}
URLLIB3 = {
    "BodyNotHttplibCompatible": CorruptAnswerError,
    "ClosedPoolError": StoreUnavailableError,
    "ConnectTimeoutError": StoreUnavailableError,
    "DecodeError": CorruptAnswerError,
    "EmptyPoolError": StoreUnavailableError,
    "FullPoolError": StoreUnavailableError,
    "HTTPError": StoreUnavailableError,
    "HeaderParsingError": CorruptAnswerError,
    "HostChangedError": StoreUnavailableError,
    "IncompleteRead": CorruptAnswerError,
    "InvalidChunkLength": CorruptAnswerError,
    "InvalidHeader": CorruptAnswerError,
    "LocationParseError": StoreRefusedError,
    "LocationValueError": StoreRefusedError,
    "MaxRetryError": StoreUnavailableError,
    "NameResolutionError": StoreUnavailableError,
    "NewConnectionError": StoreUnavailableError,
    "PoolError": StoreUnavailableError,
    "ProtocolError": CorruptAnswerError,
    "ProxyError": StoreUnavailableError,
    "ProxySchemeUnknown": StoreRefusedError,
    "ProxySchemeUnsupported": StoreRefusedError,
    "ReadTimeoutError": StoreUnavailableError,
    "RequestError": StoreUnavailableError,
    "ResponseError": CorruptAnswerError,
    "ResponseNotChunked": CorruptAnswerError,
    "SSLError": StoreUnavailableError,
    "TimeoutError": StoreUnavailableError,
    "TimeoutStateError": StoreUnavailableError,
    "URLSchemeUnknown": StoreRefusedError,
    "UnrewindableBodyError": StoreUnavailableError,
}


def kinds_of(*roots: type[Exception]) -> Iterator[type[Exception]]:
    for root in roots:
        yield root
        yield from kinds_of(*root.__subclasses__())


def named(name: str, module: object) -> type[Exception]:
    found = getattr(module, name, None) or __builtins__[name]  # type: ignore[index]
    assert isinstance(found, type)
    assert issubclass(found, Exception)
    return found


def test_tables_hold_every_class_of_obstore() -> None:
    assert {kind.__name__ for kind in kinds_of(obstore.exceptions.BaseError)} <= OBSTORE.keys()


def test_tables_hold_every_class_of_urllib3() -> None:
    ours = {kind for kind in kinds_of(urllib3.exceptions.HTTPError) if kind.__module__.startswith("urllib3.")}
    assert {kind.__name__ for kind in ours} <= URLLIB3.keys()


@pytest.mark.parametrize("name", OBSTORE)
def test_obstore_error_becomes_ours(name: str) -> None:
    error = named(name, obstore.exceptions)("some text")
    assert isinstance(error, OBSTORE_ERRORS)
    assert type(from_obstore(error, what="cannot read 'm/x'")) is OBSTORE[name]


@pytest.mark.parametrize("name", URLLIB3)
def test_urllib3_error_becomes_ours(name: str) -> None:
    kind = named(name, urllib3.exceptions)
    error = kind.__new__(kind, "some text")  # their constructors differ; type and text are all that is looked at
    if isinstance(error, urllib3.exceptions.MaxRetryError):
        error.reason = urllib3.exceptions.ConnectTimeoutError("some text")
    assert isinstance(error, URLLIB3_ERRORS)
    assert type(from_urllib3(error, what="cannot list s3://b")) is URLLIB3[name]


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (ConnectionResetError(104, "reset"), StoreUnavailableError),
        (urllib3.exceptions.ProtocolError("aborted", ConnectionResetError(104, "reset")), StoreUnavailableError),
        (urllib3.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] x"), StoreRefusedError),
        (TimeoutError("x"), StoreUnavailableError),
    ],
)
def test_wrapped_error_is_told_by_what_it_wraps(error: Exception, ours: type[ModelfsError]) -> None:
    assert type(from_urllib3(error, what="x")) is ours


@pytest.mark.parametrize(
    ("text", "ours", "says"),
    [
        ("InvalidCertificate( UnknownIssuer )", StoreRefusedError, "--ca-bundle"),
        ("InvalidCertificate( Other( OtherError( CaUsedAsEndEntity ) ) )", StoreRefusedError, "CA:FALSE"),
        ("Received redirect without LOCATION", WrongRegionError, "AWS_REGION"),
        ("source: UnexpectedRange { expected: 10..20, actual: 10..15 }", CorruptAnswerError, "not the range"),
        ("ConnectError( dns error )", StoreUnavailableError, "cannot be resolved"),
        ("kind: Timeout", StoreUnavailableError, "stopped answering"),
        ("Server returned non-2xx status code: 503 Slow: <Code>SlowDown</Code>", StoreUnavailableError, "503 SlowDown"),
        ("Server returned non-2xx status code: 416 Range", VersionGoneError, "replaced"),
        (
            "Server returned non-2xx status code: 404 Not Found: <html>",
            StoreUnavailableError,
            "without an S3 error code",
        ),
    ],
)
def test_generic_error_is_told_by_its_text(text: str, ours: type[ModelfsError], says: str) -> None:
    error = from_obstore(obstore.exceptions.GenericError(text), what="x")
    assert type(error) is ours
    assert says in str(error)


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_is_an_error(status: int) -> None:
    ours = from_refusal(Refusal.of(status, "anything <Code>X</Code> at all"), what="cannot list s3://b")
    assert str(ours).startswith(f"cannot list s3://b: the store answers {status} X")
    assert isinstance(ours, StoreUnavailableError) == (status in {408, 425, 429} or (status >= 500 and status != 501))


def test_only_code_and_region_are_read_from_a_body() -> None:
    body = "<Error><Code>X</Code><Message>secret</Message><Region>eu-1</Region></Error>"
    assert Refusal.of(400, body) == Refusal(400, "X", "eu-1")
    assert Refusal.of(400, "<Code>not a code</Code>") == Refusal(400)


def test_region_in_a_header_is_taken_only_where_it_looks_like_one() -> None:
    assert Refusal.of(301, "", region="eu-1").region == "eu-1"
    assert Refusal.of(301, "<Region>eu-1</Region>", region="\x1b]0;title\x07").region == "eu-1"
