"""The benchmark's side of its store: starts the process, gives it objects, shapes its link, asks what was sent.

Law: the store starts and ends with its context; it serves the bucket ``models`` from files that must stay as they are.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from faultserver import DialectName

BUCKET = "models"
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Link:
    """How the way to the store is: 0 is as fast as loopback goes."""

    latency_s: float = 0.0
    connection_bytes_per_s: float = 0.0
    total_bytes_per_s: float = 0.0


LOOPBACK = Link()
CLOUD = Link(0.030, 90e6, 600e6)
"""What real stores are like: 30 ms to the first byte, 90 MB/s a connection; 600 MB/s is what two cores can judge."""
TEN_GIGABIT = Link(0.001, 0.0, 1.25e9)
"""A store of one's own in the same rack."""
LINKS = {"loopback": LOOPBACK, "10g": TEN_GIGABIT, "cloud": CLOUD}


class Sent(NamedTuple):
    """What the store sent since the last reset; ``bytes`` are those of objects."""

    requests: int
    gets: int
    bytes: int


def clean_environment() -> dict[str, str]:
    """Return an environment in which nothing of this machine's own settings reaches what is measured."""
    dropped = ("AWS_", "MODELFS_", "NOTIFY_SOCKET")
    names = {"http_proxy", "https_proxy", "no_proxy", "all_proxy"}
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(dropped) and name.lower() not in names
    }
    keys = {"AWS_ACCESS_KEY_ID": "bench-key", "AWS_SECRET_ACCESS_KEY": "bench-secret", "AWS_REGION": "us-east-1"}
    paths = os.pathsep.join([str(HERE.parent), str(HERE.parents[1])])
    return {**kept, **keys, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONPATH": paths, "NO_PROXY": "127.0.0.1"}


class Store:
    """A running store."""

    def __init__(self, dialect: DialectName = "s3") -> None:
        self.url = ""
        self._dialect = dialect
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        command = [sys.executable, "-m", "bench.store_process", self._dialect]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment()
        )
        self.url = self._read()["url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def put(self, objects: Mapping[str, Path]) -> None:
        """Serve these files under these keys."""
        self._ask(do="put", objects={key: str(path) for key, path in objects.items()})

    def fill(self, *, models: int, files: int) -> None:
        """Serve so many models of so many small files each, below ``models``."""
        self._ask(do="fill", models=models, files=files)

    def shape(self, link: Link) -> None:
        """Have the way be like this from now on."""
        self._ask(do="shape", **asdict(link))

    def reset(self) -> None:
        """Count from here."""
        self._ask(do="reset")

    def sent(self, *, wait_s: float = 1.0) -> Sent:
        """Return what was sent since the reset, after at most ``wait_s`` for what is on its way."""
        return Sent(**self._ask(do="tell", wait_s=wait_s))

    def modelfs_url(self, prefix: str = "") -> str:
        """Return the URL of a prefix, as modelfs and Triton write it."""
        return f"s3://{self.url}/{BUCKET}/{prefix}".rstrip("/")

    def location(self, prefix: str) -> str:
        """Return the URL of a prefix in the words of the store's cloud, at the address where it is."""
        host = self.url.removeprefix("http://")
        if self._dialect == "azure":
            return f"as://{host}/account/{BUCKET}/{prefix}"
        return f"gs://{BUCKET}/{prefix}" if self._dialect == "gcs" else self.modelfs_url(prefix)

    def _ask(self, **told: Any) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the benchmark's store has ended")
        found: dict[str, Any] = json.loads(line)
        return found
