"""A real tritonserver on this machine: had from a package, started on a repository, asked over HTTP, and stopped.

Law: whoever starts it ends it. After ``TritonServer.__exit__`` no process of it is left, and nothing in /dev/shm.

The server comes from the wheel of nvidia-pytriton, of which only the binary, its libraries and the python backend are
used. The wheel has no ONNX backend, but Triton takes backends written in Python: ``onnxruntime_backend`` beside this
file is one. Both backends get a numpy below 2 of their own, apart from ours: the wheel's python backend was built for
it, and with numpy 2 it loads models well and then passes tensors of the wrong size (seen).
"""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

HERE = Path(__file__).resolve().parent
LOCK = HERE.parent / "requirements-triton.lock"
PYTHONS = ("3.11", "3.12")
"""The wheel also has a stub for 3.13, but there is no numpy below 2 for it."""
Mode = Literal["none", "poll", "explicit"]

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where POSIX shared memory lives
STOP_S = 20.0  # Triton itself ends within a second; a stub that must be waited for is given five by Triton


class TritonError(Exception):
    """The server cannot be had, does not start, or refuses a request; the message says which and why."""


def install(cache: Path) -> Path:
    """Put tritonserver and its backends under ``cache``, unless they are there, and return the folder that holds them.

    Safe against an interrupted or a concurrent installation: the folder gets its name when it is whole.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    home = cache / f"triton-{digest}-py{version}"
    if not home.is_dir():
        if version not in PYTHONS:
            raise TritonError(f"tritonserver's package does not run on Python {version}; needs {' or '.join(PYTHONS)}")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="triton-", dir=cache) as scratch:
            whole = Path(scratch) / "whole"
            _fetch(whole)
            _arrange(whole, version)
            try:
                whole.rename(home)
            except OSError:
                if not home.is_dir():  # else another installation was faster
                    raise
    return home


def _fetch(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-compile"]
    command += ["--only-binary=:all:", "--target", str(folder), "--requirement", str(LOCK)]
    result = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode:
        raise TritonError(f"cannot install the packages that hold tritonserver: {result.stderr.strip()}")


def _arrange(home: Path, version: str) -> None:
    """Make what runs executable, put the stub for this Python where the python backend looks, and add our backend."""
    server = home / "pytriton" / "tritonserver"
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    shutil.copyfile(server / "python_backend_stubs" / version / stub.name, stub)
    for program in (server / "bin" / "tritonserver", stub):
        program.chmod(0o755)
    environment = os.environ | {"LD_LIBRARY_PATH": _libraries(home)}
    needs = subprocess.run(["ldd", str(stub)], check=False, capture_output=True, text=True, env=environment).stdout
    if missing := [line.split()[0] for line in needs.splitlines() if "not found" in line]:
        raise TritonError(
            f"tritonserver's python backend lacks {', '.join(missing)}: apt-get install libpython{version}"
        )
    (server / "backends" / "onnxruntime").symlink_to(HERE / "onnxruntime_backend")


def _libraries(home: Path) -> str:
    """Return where the loader shall look: the wheel's own libraries, and those of the Python that we run on."""
    return os.pathsep.join([str(home / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))])


_TORN_START = "boost::interprocess::lock_exception"
"""What the python backend of 2.51 ends the server with, once in some forty starts on a busy machine (seen on a plain
folder). Another start helps."""


class TritonServer:
    """One tritonserver on one repository. A context manager; all its requests are blocking.

    ``home`` is what ``install`` returned. ``log`` is the file that gets all its output. It listens on a free loopback
    port, for HTTP only.
    """

    def __init__(
        self,
        home: Path,
        repository: Path,
        *,
        log: Path,
        mode: Mode = "none",
        poll_s: int = 1,
        models: Sequence[str] = (),
        extra_arguments: Sequence[str] = (),
    ) -> None:
        self.log = log
        self.port = 0
        self._home = home
        self._mode = mode
        self._arguments = [f"--model-repository={repository}", f"--model-control-mode={mode}", *extra_arguments]
        self._arguments += [f"--repository-poll-secs={poll_s}"] if mode == "poll" else []
        self._arguments += [f"--load-model={name}" for name in models]
        self._process: subprocess.Popen[bytes] | None = None
        self._shm_prefix = ""
        self._starts_left = 2
        self._earlier: frozenset[Path] = frozenset()

    def __enter__(self) -> Self:
        """Start the server, without waiting for it."""
        server = self._home / "pytriton" / "tritonserver"
        self.port = _free_port()
        self._earlier = _environments()
        self._shm_prefix = f"modelfs_triton_{os.getpid()}_{self.port}_"
        command = [str(server / "bin" / "tritonserver"), *self._arguments]
        command += [f"--backend-directory={server / 'backends'}", f"--http-port={self.port}"]
        command += ["--http-address=127.0.0.1", "--allow-grpc=false", "--allow-metrics=false", "--exit-on-error=false"]
        command += [f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._home,  # the stubs' interpreter is isolated and heeds no PYTHONPATH, but imports from here
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for us, who then stop it in order; and its group is its own
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server and everything that it started."""
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process, which has a group of its own. Raises TritonError when it does not run."""
        if self._process is None:
            raise TritonError("tritonserver is not started")
        return self._process.pid

    def stop(self) -> None:
        """Stop the server in order, then by force; then sweep what its stubs left. Twice is once."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            deadline = time.monotonic() + STOP_S
            while _alive(group=process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)  # a stub that is still ending holds files of the repository open
            self._sweep(in_order=process.returncode == 0)

    def _sweep(self, *, in_order: bool) -> None:
        """Remove what the python backend leaves: shared memory, and an empty folder in /tmp when it was killed.

        It takes no other place than /tmp, and its folders tell no owner; an empty one that came since our start is
        ours, or of no use to another server that does not unpack environments.
        """
        for region in _SHARED_MEMORY.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
        if not in_order:
            for folder in _environments() - self._earlier:
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def started(self) -> bool:
        """Return whether every model that is to be loaded at the start was loaded or has failed; ``index`` then tells.

        Raises TritonError when the server has ended.
        """
        if self._process is None or self._process.poll() is not None:
            if self._starts_left and _TORN_START in self.log_tail():
                self._starts_left -= 1
                self.stop()
                self.__enter__()
                return False
            raise TritonError(f"tritonserver ended at its start; the end of its log:\n{self.log_tail()}")
        try:
            self._request("GET", "/v2/health/live")  # it listens only when it has tried all models
        except (OSError, http.client.HTTPException):
            return False
        return True

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until ``started``."""
        deadline = time.monotonic() + timeout_s
        while not self.started():
            if time.monotonic() > deadline:
                raise TritonError(f"tritonserver is not ready after {timeout_s:.0f} s; its log:\n{self.log_tail()}")
            time.sleep(0.05)

    def index(self) -> list[dict[str, Any]]:
        """Return Triton's own table: name, version, state and reason of each model, sorted by name."""
        rows: list[dict[str, Any]] = self._request("POST", "/v2/repository/index", {})
        return sorted(rows, key=lambda row: (row["name"], row.get("version", "")))

    def load(self, model: str, **parameters: Any) -> None:
        """Load ``model`` (mode explicit), with what the repository holds of it now.

        ``parameters`` are the request's own, such as a ``config`` in JSON.
        """
        self._request("POST", f"/v2/repository/models/{model}/load", {"parameters": parameters} if parameters else {})

    def unload(self, model: str) -> None:
        """Ask for ``model`` to be unloaded (mode explicit). Triton answers before it is gone."""
        self._request("POST", f"/v2/repository/models/{model}/unload", {})

    def metadata(self, model: str) -> dict[str, Any]:
        """Return the names, data types and shapes of a ready model."""
        result: dict[str, Any] = self._request("GET", f"/v2/models/{model}")
        return result

    def infer(
        self,
        model: str,
        inputs: Mapping[str, tuple[str, Sequence[int], Sequence[Any]]],
        *,
        version: str = "",
        **parameters: Any,
    ) -> dict[str, list[Any]]:
        """Send one inference, to one version or to the newest, and return each output's values, flat.

        An input is (data type, shape, flat values); ``parameters`` are the request's own, such as sequence_id.
        """
        tensors = [
            {"name": name, "datatype": kind, "shape": list(shape), "data": list(data)}
            for name, (kind, shape, data) in inputs.items()
        ]
        path = f"/v2/models/{model}/versions/{version}/infer" if version else f"/v2/models/{model}/infer"
        answer = self._request("POST", path, {"inputs": tensors, "parameters": parameters})
        return {output["name"]: output["data"] for output in answer["outputs"]}

    def log_tail(self, lines: int = 30) -> str:
        """Return the last ``lines`` of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def log_count(self, text: str) -> int:
        """Return how often ``text`` stands in the server's log."""
        return self.log.read_text(errors="replace").count(text)

    def _environment(self) -> dict[str, str]:
        """Return what the server and its stubs need, and nothing of ours that could lead them elsewhere."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.log.parent),
            "TMPDIR": str(self.log.parent),
            "LD_LIBRARY_PATH": _libraries(self._home),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer's JSON, or None for an empty one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        if answer.status != http.client.OK:
            raise TritonError(f"Triton answered {answer.status} to {path}: {text.decode(errors='replace')}")
        return json.loads(text) if text else None


def _alive(*, group: int) -> bool:
    """Return whether a process of ``group`` has a thread that still runs; dead ones may wait long for their reaper."""
    for status in Path("/proc").glob("[0-9]*/task/[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended while we looked
            state, _, its_group = status.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def _environments() -> frozenset[Path]:
    return frozenset(Path("/tmp").glob("python_env_??????"))  # noqa: S108  the python backend's own fixed choice


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
