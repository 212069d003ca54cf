"""A web server on loopback, as people put models behind one: pages of links, HEAD, and ranges. And what it can lie.

Law: it is the standard library's server, with a dictionary for files. The switches are plain attributes that a test
sets; ``requests`` is what was asked.
"""

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import quote, unquote


class _File(NamedTuple):
    data: bytes
    modified_s: float


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    range: str
    host: str
    authorization: str


class WebServer:
    """Files below "/", of which a test says what is there. As a context it runs."""

    def __init__(self) -> None:
        """Begin empty, honest and open to all."""
        self.requests: list[Asked] = []
        self.has_etags = True
        self.has_ranges = True
        self.has_lengths = True
        self.login: str | None = None  # "user:password"
        self.statuses: dict[str, int] = {}  # by path: what is answered in place of it
        self.redirects: dict[str, str] = {}  # by path: where to
        self.pages: dict[str, str] = {}  # by path of a folder: its HTML in place of ours
        self.before_bytes: Callable[[str], None] = lambda _path: None
        self._files: dict[str, _File] = {}
        self._folders = {"/"}
        self._server = _Quiet(("127.0.0.1", 0), self._handler())

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, path: str, data: bytes, *, modified_s: float | None = None) -> None:
        """Put a file at "/path", over what was there, or a folder with "/" at its end."""
        above = path.split("/")[1:-1]
        self._folders |= {"/" + "".join(f"{name}/" for name in above[:count]) for count in range(len(above) + 1)}
        if not path.endswith("/"):
            self._files[path] = _File(data, time.time() if modified_s is None else modified_s)

    def delete(self, path: str) -> None:
        """Remove a file."""
        del self._files[path]

    def find(self, path: str) -> _File | None:
        """Return the file at ``path``."""
        return self._files.get(path)

    def page(self, path: str) -> str | None:
        """Return the page of a folder, in the way of Apache: sorting links, the parent, then what is there."""
        if path in self.pages:
            return self.pages[path]
        if path not in self._folders:
            return None
        inside = {name[len(path) :] for name in [*self._files, *self._folders] if name.startswith(path)}
        names = {name.partition("/")[0] + "/" * ("/" in name) for name in inside if name}
        links = "".join(f'<a href="{quote(name)}">a link</a>\n' for name in sorted(names))
        return f'<html><a href="?C=N;O=D">Name</a> <a href="../">Parent</a>\n{links}</html>'

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        class Handler(_Handler):
            web = self

        return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of who hangs up in the middle: tests do."""


class _Handler(BaseHTTPRequestHandler):
    web: WebServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        web, headers = self.web, self.headers
        path = unquote(self.path.partition("?")[0])
        asked = Asked(
            self.command, path, headers.get("Range", ""), headers.get("Host", ""), headers.get("Authorization", "")
        )
        web.requests.append(asked)
        if web.login and asked.authorization != f"Basic {base64.b64encode(web.login.encode()).decode()}":
            self._answer(401, {"WWW-Authenticate": "Basic"}, b"no")
        elif path in web.statuses:
            self._answer(web.statuses[path], {}, b"this is no file")
        elif path in web.redirects:
            self._answer(302, {"Location": web.redirects[path]}, b"this is no file")
        elif (file := web.find(path)) is not None:
            if self.command == "GET":
                web.before_bytes(path)
                file = web.find(path) or file
            self._file(file, asked.range)
        elif (page := web.page(path)) is not None:
            self._answer(200, {"Content-Type": "text/html; charset=utf-8"}, page.encode())
        else:
            self._answer(404, {}, b"this is no file")

    def _file(self, file: _File, wanted: str) -> None:
        headers = {
            "Content-Type": "application/octet-stream",
            "Last-Modified": formatdate(file.modified_s, usegmt=True),
        }
        if self.web.has_etags:
            headers["ETag"] = f'"{hashlib.md5(file.data, usedforsecurity=False).hexdigest()}"'
        if not (wanted and self.web.has_ranges):
            self._answer(200, headers, file.data)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, len(file.data))
        if start >= len(file.data):
            self._answer(416, {"Content-Range": f"bytes */{len(file.data)}"}, b"")
            return
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(file.data)}"
        self._answer(206, headers, file.data[start:stop])

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.web.has_lengths:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
