"""An S3 server of our own on the loopback interface: moto, in a process that ends with the one that started it.

Law: it lives in memory, on a free port, and needs nothing of the caller's environment. Run as a program it is the
server; ``EmbeddedS3`` starts that and talks to it.

The server waits for the end of its standard input, so that it cannot outlive a parent that was killed.
"""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ACCESS_KEY, SECRET_KEY, REGION = "quickstart", "quickstart-secret", "us-east-1"
START_S = 60.0

# what could send a client of this server elsewhere: proxies, and all that AWS, modelfs and Triton read
_FOREIGN = ("AWS_", "MODELFS_", "TRITON_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class EmbeddedS3Error(Exception):
    """The server does not start, or refuses what it is given."""


class EmbeddedS3:
    """The server as its parent sees it. A context manager.

    ``scratch`` is an existing folder for its temporary files; it is also on its command line, which tells whose it is.
    """

    def __init__(self, scratch: Path) -> None:
        self.port = 0
        self._scratch = scratch
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-B", __file__, str(self._scratch)]
        environment = client_environment(os.environ) | {"TMPDIR": str(self._scratch)}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None  # noqa: S101  it was asked for two lines above
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        answer = self._process.stdout.readline() if ready else ""
        if not answer:
            self.stop()
            raise EmbeddedS3Error("the embedded S3 server did not start; its own words are above")
        self.port = int(answer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def stop(self) -> None:
        """Stop the server. Twice is once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it holds nothing that could be lost
            process.communicate()

    def upload(self, folder: Path, bucket: str, prefix: str) -> int:
        """Make ``bucket`` and put every file of ``folder`` under ``prefix``; return how many bytes that was."""
        client = self.client()
        with contextlib.closing(client):
            client.create_bucket(Bucket=bucket)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            for path in files:
                with path.open("rb") as body:
                    client.put_object(Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder)}", Body=body)
        return sum(path.stat().st_size for path in files)

    def client(self) -> Any:
        """Return a botocore client of the server. The caller closes it."""
        import botocore.config  # noqa: PLC0415  half a second that a user's own URL need not pay
        import botocore.session  # noqa: PLC0415  only when it is needed

        # no profile and no file of the caller's is looked at
        isolated = {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull}
        session = botocore.session.Session({name: (None, None, value, None) for name, value in isolated.items()})
        return session.create_client(
            "s3",
            region_name=REGION,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            verify=False,
            config=botocore.config.Config(
                proxies={}, s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}
            ),
        )


def client_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` without what would disturb a client of this server, and with the server's keys."""
    own = {
        name: value
        for name, value in environment.items()
        if not name.startswith(_FOREIGN) and name.lower() not in _PROXIES
    }
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": REGION}
    return own | nothing | keys


def _serve() -> None:
    """Serve until standard input ends."""
    import logging  # noqa: PLC0415  the parent side needs neither

    from moto.server import ThreadedMotoServer  # noqa: PLC0415  only when it is needed

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve()
