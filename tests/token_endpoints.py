"""Stubs of what hands out AWS credentials, on loopback: STS, SSO, a container's agent, the metadata service.

Law: each answers as the real one does, as far as botocore looks, and refuses what the real one would refuse. They prove
that a source is asked and its answer used, not that a cloud agrees.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ROLE = "arn:aws:iam::123456789012:role/reader"
AGENT_TOKEN = "agent-token"  # what a pod's file holds, and the agent asks for
_METADATA_TOKEN = "metadata-token"
_METADATA = "/latest/meta-data/iam/security-credentials/"


class Endpoints:
    """What is handed out now, and what was asked. ``life_s`` is how long credentials last."""

    def __init__(self) -> None:
        self.key_id = "ASIAROLE"
        self.secret = "role-secret"
        self.session_token = "role-token"
        self.life_s = 3600.0
        self.asked: list[str] = []
        self.url = ""

    @property
    def _expires_at(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.life_s)

    def container(self) -> dict[str, str]:
        """Return what ECS's and EKS's agents say."""
        return {
            "AccessKeyId": self.key_id,
            "SecretAccessKey": self.secret,
            "Token": self.session_token,
            "Expiration": self._expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def metadata(self) -> dict[str, str]:
        """Return what an instance's metadata service says."""
        return {**self.container(), "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2024-01-01T00:00:00Z"}

    def sts(self, action: str) -> str:
        """Return the XML of AssumeRole and AssumeRoleWithWebIdentity."""
        return (
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>'
            f"<AccessKeyId>{self.key_id}</AccessKeyId><SecretAccessKey>{self.secret}</SecretAccessKey>"
            f"<SessionToken>{self.session_token}</SessionToken>"
            f"<Expiration>{self._expires_at:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            f"</{action}Result></{action}Response>"
        )

    def sso(self) -> dict[str, dict[str, object]]:
        """Return what GetRoleCredentials says."""
        expiration = int(self._expires_at.timestamp() * 1000)
        keys = {"accessKeyId": self.key_id, "secretAccessKey": self.secret, "sessionToken": self.session_token}
        return {"roleCredentials": {**keys, "expiration": expiration}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    endpoints: Endpoints

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        action = form.get("Action", [""])[0]
        self.endpoints.asked.append(action)
        if action == "AssumeRoleWithWebIdentity" and form["WebIdentityToken"] != ["pod-identity"]:
            self._answer(400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>")
            return
        self._answer(200, self.endpoints.sts(action))

    def do_PUT(self) -> None:
        self.endpoints.asked.append("metadata token")
        self._answer(200, _METADATA_TOKEN)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.endpoints.asked.append(path)
        secret = {
            "/federation/credentials": ("x-amz-sso_bearer_token", "sso-token"),
            "/container": ("Authorization", AGENT_TOKEN),
        }.get(path, ("x-aws-ec2-metadata-token", _METADATA_TOKEN))
        answers: dict[str, Callable[[], str]] = {
            "/federation/credentials": lambda: json.dumps(self.endpoints.sso()),
            "/container": lambda: json.dumps(self.endpoints.container()),
            _METADATA: lambda: "reader",
            f"{_METADATA}reader": lambda: json.dumps(self.endpoints.metadata()),
        }
        if self.headers[secret[0]] != secret[1]:
            self._answer(401, "{}")
        elif path in answers:
            self._answer(200, answers[path]())
        else:
            self._answer(404, "")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        pass


@contextlib.contextmanager
def token_endpoints() -> Iterator[Endpoints]:
    """Serve all of them at one URL."""
    endpoints = Endpoints()
    handler = type("Handler", (_Handler,), {"endpoints": endpoints})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        endpoints.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield endpoints
        finally:
            server.shutdown()
            thread.join(10)
