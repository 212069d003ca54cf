"""Google's token endpoints on loopback: OAuth, the security token service, and the metadata server.

Law: it hands out "token-1", "token-2" …, and keeps every request. What it answers can be changed at any time.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``form`` is the body's, each name once."""

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]


class GoogleStub:
    """The endpoints. ``/token`` is OAuth's, ``/sts`` the token service's; IAM and metadata have their own paths."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.lifetime_s = 3600
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.flavor = "Google"
        self.prefix = "token-"
        self._handed_out = 0
        self._lock = threading.Lock()

    @property
    def newest(self) -> str:
        """Return the last token that was handed out."""
        return f"{self.prefix}{self._handed_out}"

    def __enter__(self) -> Self:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())

            def do_GET(self) -> None:
                self._answer("")

            def _answer(self, body: str) -> None:
                form = {name: values[0] for name, values in parse_qs(body).items()}
                status, told = stub._answer_to(Asked(self.path, dict(self.headers), form))
                data = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if stub.flavor:
                    self.send_header("Metadata-Flavor", stub.flavor)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def host(self) -> str:
        """Return "host:port"."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """Return "http://host:port"."""
        return f"http://{self.host}"

    def _answer_to(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.asked.append(asked)
            if self.refusal is not None:
                return self.refusal
            self._handed_out += 1
            if asked.path.endswith(":generateAccessToken"):
                ends = time.gmtime(time.time() + self.lifetime_s)
                return 200, {"accessToken": self.newest, "expireTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", ends)}
            kind = (
                {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"} if asked.path == "/sts" else {}
            )
            return 200, {
                "access_token": self.newest,
                "expires_in": self.lifetime_s,
                "token_type": "Bearer",
                **kind,
            }


def private_key() -> str:
    """Return a new RSA key as PEM, as Google's key files hold one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def service_account(stub: GoogleStub, pem: str) -> dict[str, str]:
    """Return the content of a service account's key file whose tokens are from ``stub``."""
    return {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "modelfs@p.iam.gserviceaccount.com",
        "token_uri": f"{stub.url}/token",
    }
