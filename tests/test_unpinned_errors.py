"""What fsspec's drivers raise becomes ours, by type, and nothing of its text is shown."""

import ftplib
import socket
import ssl
from typing import Any

import aiohttp
import pytest

from modelfs.errors import (
    AccessRefusedError,
    ModelfsError,
    ObjectNotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    UsageError,
    VersionGoneError,
)
from modelfs.unpinned_errors import from_driver


class AuthenticationException(Exception):  # noqa: N818  paramiko's name
    """What paramiko raises."""


class WithResponse(Exception):  # noqa: N818  as requests and httpx have it
    """What requests raises."""

    def __init__(self, status: int) -> None:
        super().__init__("hunter2")
        self.response = type("Response", (), {"status_code": status})()


def caused_by(cause: Exception) -> FileNotFoundError:
    error = FileNotFoundError("hunter2")
    error.__cause__ = cause
    return error


KEY: Any = type("Key", (), {"host": "h", "port": 1, "is_ssl": True, "ssl": True, "proxy": None})()

ROWS = [
    (FileNotFoundError("hunter2"), ObjectNotFoundError),
    (NotADirectoryError("hunter2"), ObjectNotFoundError),
    (ftplib.error_perm("550 hunter2"), ObjectNotFoundError),  # noqa: S321  its errors alone
    (ftplib.error_perm("530 hunter2"), AccessRefusedError),  # noqa: S321
    (ftplib.error_temp("421 hunter2"), StoreUnavailableError),  # noqa: S321
    (PermissionError("hunter2"), AccessRefusedError),
    (AuthenticationException("hunter2"), AccessRefusedError),
    (WithResponse(403), AccessRefusedError),
    (WithResponse(404), ObjectNotFoundError),
    (WithResponse(412), VersionGoneError),
    (WithResponse(429), StoreUnavailableError),
    (WithResponse(418), StoreRefusedError),
    (caused_by(aiohttp.ClientPayloadError("hunter2")), StoreUnavailableError),
    (caused_by(KeyError("hunter2")), ObjectNotFoundError),
    (caused_by(StoreRefusedError("ours")), StoreRefusedError),
    (TimeoutError("hunter2"), StoreUnavailableError),
    (ConnectionResetError("hunter2"), StoreUnavailableError),
    (socket.gaierror("hunter2"), StoreUnavailableError),
    (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror("hunter2")), StoreUnavailableError),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("hunter2")), StoreUnavailableError),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("hunter2")), StoreRefusedError),
    (aiohttp.ServerDisconnectedError("hunter2"), StoreUnavailableError),
    (aiohttp.InvalidURL("hunter2"), StoreRefusedError),
    (aiohttp.TooManyRedirects(KEY, ()), StoreRefusedError),
    (aiohttp.NonHttpUrlRedirectClientError("hunter2"), StoreRefusedError),
    (TypeError("hunter2"), StoreRefusedError),
    (NotImplementedError("hunter2"), StoreRefusedError),
    (OSError("hunter2"), StoreUnavailableError),
    (EOFError("hunter2"), StoreUnavailableError),
    (ModuleNotFoundError("hunter2", name="paramiko"), UsageError),
]


@pytest.mark.parametrize(("error", "kind"), ROWS, ids=lambda value: getattr(value, "__name__", type(value).__name__))
def test_error_of_a_driver_becomes_ours_without_its_text(error: Exception, kind: type[ModelfsError]) -> None:
    found = from_driver(error, what="cannot read 'm/x'", gone=ObjectNotFoundError)
    assert type(found) is kind
    assert "hunter2" not in str(found)


def test_wrong_name_and_closed_port_are_told_apart() -> None:
    refused = aiohttp.ClientConnectorError(KEY, ConnectionRefusedError())
    unknown = aiohttp.ClientConnectorDNSError(KEY, socket.gaierror())
    said = [str(from_driver(error, what="x", gone=ObjectNotFoundError)) for error in (refused, unknown)]
    assert "check host and port" in said[0]
    assert "cannot be resolved" in said[1]


def test_missing_package_of_a_nested_import_is_the_one_to_install() -> None:
    outer = ImportError("Install huggingface_hub to access HfFileSystem")
    outer.__cause__ = ModuleNotFoundError("No module named 'huggingface_hub'", name="huggingface_hub.utils")
    found = from_driver(outer, what="cannot read hf://", gone=ObjectNotFoundError)
    assert str(found).endswith("install it with 'pip install huggingface_hub'")
