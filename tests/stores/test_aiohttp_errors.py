"""Every exception of aiohttp becomes one of ours, and nothing of its text is told."""

import ssl
from collections.abc import Iterator

import aiohttp
import pytest

from modelfs.aiohttp_errors import AIOHTTP_ERRORS, from_aiohttp
from modelfs.errors import CorruptAnswerError, ModelfsError, StoreRefusedError, StoreUnavailableError

CERTIFICATE = (aiohttp.ClientConnectorCertificateError,)
CORRUPT = (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)
REFUSED = (aiohttp.InvalidURL,)


def kinds_of(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__.startswith("aiohttp."):
            yield from kinds_of(kind)


ALL = sorted({*kinds_of(aiohttp.ClientError), *kinds_of(aiohttp.http_exceptions.HttpProcessingError)}, key=str)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_class_of_aiohttp_becomes_ours_and_is_not_quoted(kind: type[Exception]) -> None:
    error = kind.__new__(kind, "GET https://store/x?sig=hunter2")  # their constructors differ; the type is looked at
    assert isinstance(error, AIOHTTP_ERRORS)
    ours = from_aiohttp(error, what="cannot read 'm/x'")
    expected: type[ModelfsError] = StoreUnavailableError
    if issubclass(kind, (*CERTIFICATE, *REFUSED)):
        expected = StoreRefusedError
    elif issubclass(kind, (*CORRUPT, aiohttp.http_exceptions.HttpProcessingError)) and not issubclass(
        kind, aiohttp.ClientHttpProxyError
    ):
        expected = CorruptAnswerError
    assert type(ours) is expected
    assert str(ours).startswith("cannot read 'm/x': ")
    assert "hunter2" not in str(ours)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (TimeoutError(), StoreUnavailableError),
        (ConnectionResetError(104, "reset"), StoreUnavailableError),
        (ssl.SSLError("wrong version"), StoreUnavailableError),
        (ValueError("x"), StoreRefusedError),
        (OSError("x"), StoreUnavailableError),
    ],
)
def test_builtin_that_aiohttp_raises_becomes_ours(error: Exception, ours: type[ModelfsError]) -> None:
    assert isinstance(error, AIOHTTP_ERRORS)
    assert type(from_aiohttp(error, what="x")) is ours
