"""Where tokens of Microsoft Entra ID come from, on loopback: its token endpoint over TLS, and a machine's metadata.

Law: each token is a new one, so that a test sees which was used; what was asked is remembered.
"""

import contextlib
import json
import ssl
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(slots=True)
class Entra:
    """The stub. ``lasts_s`` is how long its tokens last; ``error`` is an AADSTS number that it refuses with."""

    url: str = ""
    lasts_s: int = 3600
    error: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)

    def token(self, asked: dict[str, str]) -> tuple[int, dict[str, object]]:
        """Return the status and the answer to a request for a token."""
        self.asked.append(asked)
        if self.error:
            return 401, {"error": "invalid_client", "error_description": f"{self.error}: hunter2 is wrong."}
        lasts = {"expires_in": self.lasts_s, "expires_on": str(int(time.time()) + self.lasts_s)}
        return 200, {"token_type": "Bearer", "access_token": f"token-{len(self.asked)}", "resource": "x", **lasts}

    def discovery(self, path: str) -> dict[str, object]:
        """Return what Entra ID tells of a tenant's endpoints."""
        tenant = f"{self.url}/{path.strip('/').partition('/')[0]}"
        endpoints = {f"{name}_endpoint": f"{tenant}/{name}" for name in ("authorization", "token")}
        return {"issuer": f"{tenant}/v2.0", **endpoints}


@contextlib.contextmanager
def entra(tls: ssl.SSLContext | None = None) -> Iterator[Entra]:
    """Serve on loopback, with TLS where Entra ID's own clients insist on it."""
    stub = Entra()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if "openid-configuration" in path:
                self._answer(200, stub.discovery(path))
            elif self.headers.get("Metadata") == "true":
                self._answer(*stub.token(dict(urllib.parse.parse_qsl(query))))
            else:
                self._answer(400, {})  # as a machine's metadata service refuses

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(*stub.token(dict(urllib.parse.parse_qsl(body))))

        def _answer(self, status: int, answer: dict[str, object]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        stub.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join(10)


def make_certificate(folder: Path) -> Path:
    """Make a self-signed certificate for 127.0.0.1 in ``folder``, with its key in the same file."""
    path, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key)]  # Entra ID takes RSA alone for applications
    subprocess.run(
        ["openssl", "req", "-x509", "-days", "2", *subject, *kind, "-out", str(path)], check=True, capture_output=True
    )
    path.write_text(path.read_text() + key.read_text())
    return path
