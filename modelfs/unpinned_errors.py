"""What fsspec's drivers raise, in our exceptions.

Law: every exception of a driver becomes one of ours here, by type and by the status of HTTP that some carry. Each
driver raises what its own library raises, so this cannot be a closed list: what nobody knows is worth a retry. Nothing
of what a library says is quoted, only the name of the type: it may hold the URL, and so a password.
"""

import ftplib
import socket
import ssl

from modelfs.errors import (
    AccessRefusedError,
    ModelfsError,
    StoreRefusedError,
    StoreUnavailableError,
    UsageError,
    VersionGoneError,
)
from modelfs.http_errors import SILENT, UNCONNECTED, UNRESOLVED, UNTRUSTED

_REFUSED = "the store refuses access; check user and password, or what the driver takes for them"
_REPLACED = "this version was replaced"


def from_driver(error: Exception, *, what: str, gone: type[ModelfsError]) -> ModelfsError:
    """Return the error for what a driver raised, as ``gone`` where that is that something is not there."""
    if isinstance(error, ModelfsError):
        return error  # our own guard stopped the driver
    hidden = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(hidden, Exception) and _is_of_http(hidden):
        return from_driver(hidden, what=what, gone=gone)
    if isinstance(error, ImportError):
        return missing_package(error, what=what)
    answer = getattr(error, "response", None)  # requests and httpx have it there, aiohttp in the error itself
    status = getattr(error, "status", getattr(answer, "status_code", None))
    if isinstance(status, int) and status:
        return _from_status(status, what=what, gone=gone)
    return _from_type(error, what=what, gone=gone)


def _from_type(error: Exception, *, what: str, gone: type[ModelfsError]) -> ModelfsError:
    if isinstance(error, FileNotFoundError | NotADirectoryError) or _ftp_code(error) == _FTP_NO_FILE:
        return gone(f"{what}: there is no such thing")
    kind, reason = next((kind, reason) for types, kind, reason in _BY_TYPE if isinstance(_cause(error), types))
    if kind is StoreUnavailableError and (_ftp_code(error) == _FTP_NO_LOGIN or _is_called(error, "Authentication")):
        return AccessRefusedError(f"{what}: {_REFUSED}")
    if _is_called(error, "Redirect"):
        return StoreRefusedError(f"{what}: the store redirects where nothing can be read; check the URL")
    return kind(f"{what}: {reason} ({type(error).__name__})")


def missing_package(error: ImportError, *, what: str) -> UsageError:
    """Return the sentence that says what to install. The names of modules are those of packages, but for dashes."""
    innermost: BaseException = error
    while isinstance(innermost.__cause__, ImportError):
        innermost = innermost.__cause__
    name = (getattr(innermost, "name", None) or "").partition(".")[0]
    instead = f"install it with 'pip install {name}'" if name else f"it says: {error}"
    return UsageError(f"{what}: fsspec's driver needs a Python package that is not there; {instead}")


def _is_of_http(hidden: Exception) -> bool:
    """Tell what the driver for HTTP hides: it says "not found" of whatever kept it from looking."""
    return isinstance(hidden, ModelfsError) or type(hidden).__module__.partition(".")[0] == "aiohttp"


def _cause(error: Exception) -> BaseException:
    """Return the error of the system that aiohttp wraps, which tells a wrong name from a closed port."""
    found = getattr(error, "os_error", error)
    return found if isinstance(found, BaseException) else error


def _from_status(status: int, *, what: str, gone: type[ModelfsError]) -> ModelfsError:
    if status in {404, 410}:
        return gone(f"{what}: there is no such thing")
    if status in {412, 416}:
        return VersionGoneError(f"{what}: {_REPLACED}")
    if status in {401, 403, 407}:
        return AccessRefusedError(f"{what}: {_REFUSED}")
    if status in {408, 425, 429} or status >= 500:  # noqa: PLR2004  the server's own failures
        return StoreUnavailableError(f"{what}: the store answers with HTTP status {status}")
    return StoreRefusedError(f"{what}: the store answers with HTTP status {status}; check the URL")


_FTP_NO_LOGIN, _FTP_NO_FILE = "530", "550"


def _ftp_code(error: Exception) -> str:
    return str(error)[:3] if isinstance(error, ftplib.Error) else ""


def _is_called(error: Exception, word: str) -> bool:
    """Tell whether a type's name says so, where no builtin does and the library (paramiko, aiohttp) may be absent."""
    return any(word in kind.__name__ for kind in type(error).__mro__)


_BY_TYPE: tuple[tuple[tuple[type[BaseException], ...], type[ModelfsError], str], ...] = (
    # the first row whose types fit
    (
        (ssl.CertificateError,),
        StoreRefusedError,
        UNTRUSTED,
    ),
    ((ssl.SSLError,), StoreUnavailableError, "the TLS handshake fails; is the store's URL http:// perhaps?"),
    ((socket.gaierror,), StoreUnavailableError, UNRESOLVED),
    ((PermissionError,), AccessRefusedError, _REFUSED),
    ((TimeoutError,), StoreUnavailableError, SILENT),
    ((ConnectionError,), StoreUnavailableError, UNCONNECTED),
    (
        (ValueError, TypeError, LookupError, AttributeError, NotImplementedError),
        StoreRefusedError,
        "fsspec's driver cannot do this with this URL",
    ),
    ((BaseException,), StoreUnavailableError, "fsspec's driver fails"),
)
