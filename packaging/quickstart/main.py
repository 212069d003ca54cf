"""The quickstart: a stock Triton serves a model repository through a modelfs mount, and all that is shown is real.

Law: what it starts and makes it removes, also when it fails or is interrupted, and it looks afterwards whether that is
so. Exit status 0 when every model is READY and the inference is right, 1 when something is not, 2 for a wrong call,
128 + n after signal n.

The mount is made by the plain ``modelfs`` command, as a user would make it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from embedded_s3 import EmbeddedS3, EmbeddedS3Error, client_environment
from tritonserver import TritonError, TritonServer, install

from modelfs.mounting import mount_table

ROOT = Path(__file__).resolve().parents[2]
MODELFS = Path(sys.executable).with_name("modelfs")
BUCKET, PREFIX = "models", "triton/examples"
LOAD_S = 3600.0  # a user's models may weigh hundreds of gigabytes
TELL_S = 10.0
END_S = 15.0

USAGE = """\
usage: quickstart.sh [URL]

Without URL: Triton's eight example models, from an S3 server of its own.
With URL: your own model repository (s3://..., or a local folder), with the credentials of your environment."""


class QuickstartError(Exception):
    """Something is not as it must be; the message says what."""


class InterruptedBySignalError(BaseException):
    """A signal asks us to end. No Exception, so that nobody takes it for a failure of his own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruptions:
    """Turns the signals that ask us to end into one exception, which waits while something is half started."""

    def __init__(self) -> None:
        self._held = False
        self._number = 0

    def arm(self) -> None:
        """Take the signals over, for the rest of the process."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._arrived)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let what is inside end first: a process that nobody knows of yet could not be stopped."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._number:
                raise InterruptedBySignalError(self._number)

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        if self._number:
            return  # once is enough: the way out is not to be interrupted
        self._number = number
        if not self._held:
            raise InterruptedBySignalError(number)


def main(arguments: Sequence[str]) -> int:
    """Run the quickstart; return its exit status."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        asked = list(arguments) in (["-h"], ["--help"])
        print(USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    began = time.monotonic()
    interruptions = Interruptions()
    interruptions.arm()
    status = 0
    work = Path(tempfile.mkdtemp(prefix="modelfs-quickstart-"))
    try:
        with contextlib.ExitStack() as stack:
            _run(stack, work, arguments[0] if arguments else None, interruptions)
    except InterruptedBySignalError as interruption:
        _say(f"stopped by {signal.Signals(interruption.number).name}")
        status = 128 + interruption.number
    except (QuickstartError, TritonError, EmbeddedS3Error) as error:
        print(f"quickstart: {error}", file=sys.stderr, flush=True)
        status = 1
    except Exception:  # noqa: BLE001  the root: what nobody foresaw is told, and the way out is the same
        traceback.print_exc()
        status = 1
    left = _left_behind(work)
    for line in left:
        print(f"quickstart: left behind: {line}", file=sys.stderr)
    if not left:
        _say("no mount, process or file is left (only .venv and .cache in this clone)")
    _say(f"{'done' if status == 0 else 'ended'} after {time.monotonic() - began:.1f} s")
    return status or bool(left)


def _run(stack: contextlib.ExitStack, work: Path, url: str | None, interruptions: Interruptions) -> None:
    """Do the main job; whatever is started is put on ``stack`` first."""
    _say("installing tritonserver, unless it is there")
    home = install(ROOT / ".cache")
    environment: Mapping[str, str] = os.environ
    own = url is not None
    if url is None:
        with interruptions.held():
            store = stack.enter_context(EmbeddedS3(work))
        url = _fill(store, work)
        environment = client_environment(os.environ)
    # what a mount remembers and keeps for the next one is of no use to a mount that never comes back
    environment = {"MODELFS_STATE_DIR": str(work / "state"), "MODELFS_CACHE_SIZE": "0", **environment}
    mountpoint = work / "mount"
    mountpoint.mkdir()
    with interruptions.held():
        stack.callback(_unmount, mountpoint, environment)
        _mount(url, mountpoint, environment)
    _say(f"$ tritonserver --model-repository={mountpoint}")
    with interruptions.held():
        server = stack.enter_context(TritonServer(home, mountpoint, log=work / "triton.log"))
    rows = _wait_for_models(server)
    print(_table(rows), flush=True)
    _judge(rows, own=own)
    _infer(server, rows, own=own)


def _fill(store: EmbeddedS3, work: Path) -> str:
    """Make the example models, upload them, and return their URL."""
    import models  # noqa: PLC0415  onnx takes a second that a user's own URL need not pay

    _say("making Triton's eight example models, with random weights")
    folder = work / "models"
    folder.mkdir()
    models.make(folder)
    size = store.upload(folder, BUCKET, PREFIX)
    shutil.rmtree(folder)  # from here on the bucket is all there is
    url = f"s3://127.0.0.1:{store.port}/{BUCKET}/{PREFIX}"
    _say(f"uploaded {size / 1e6:.0f} MB to an S3 server of our own: {url}")
    return url


def _mount(url: str, mountpoint: Path, environment: Mapping[str, str]) -> None:
    _say(f"$ modelfs mount {url} {mountpoint}")
    # its own session: a Ctrl-C is for us, and we unmount in order
    result = subprocess.run(
        [MODELFS, "mount", url, mountpoint],
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    if result.returncode:
        raise QuickstartError(f"the mount failed with exit status {result.returncode}; its own words are above")


def _unmount(mountpoint: Path, environment: Mapping[str, str]) -> None:
    if str(mountpoint) not in _mountpoints():
        return
    _say(f"$ modelfs unmount {mountpoint}")
    result = subprocess.run(
        [MODELFS, "unmount", mountpoint], check=False, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    if result.returncode:
        subprocess.run(["umount", "--lazy", mountpoint], check=False)
        raise QuickstartError(f"the unmount failed with exit status {result.returncode}; detached it by force")


def _wait_for_models(server: TritonServer) -> list[dict[str, Any]]:
    """Wait until Triton has tried all models, with a sign of life now and then, and return its table."""
    began = time.monotonic()
    told = began
    while not server.started():
        now = time.monotonic()
        if now - began > LOAD_S:
            raise QuickstartError(f"tritonserver is still loading after {LOAD_S:.0f} s:\n{server.log_tail()}")
        if now - told > TELL_S:
            told = now
            _say(f"loading for {now - began:.0f} s: {server.log_count('successfully loaded')} models so far")
        time.sleep(0.05)
    _say(f"Triton loaded what it could in {time.monotonic() - began:.1f} s")
    return server.index()


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return Triton's table of models, as it prints it in its own log."""
    lines = [("Model", "Version", "Status")]
    for row in rows:
        reason = row.get("reason", "").strip().splitlines()
        state = row.get("state", "UNAVAILABLE")
        lines.append((row["name"], row.get("version", "-"), f"{state}: {reason[0]}" if reason else state))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    rule = "+".join(["", *("-" * (width + 2) for width in widths), ""])
    cells = [
        "|".join(["", *(f" {cell:<{width}} " for cell, width in zip(line, widths, strict=True)), ""]) for line in lines
    ]
    return "\n".join([rule, cells[0], rule, *cells[1:], rule])


def _judge(rows: Sequence[Mapping[str, Any]], *, own: bool) -> None:
    """Raise QuickstartError unless every model is READY."""
    if not rows:
        raise QuickstartError("the repository shows no model: the URL must name the folder that holds model folders")
    failed = sorted({row["name"] for row in rows if row.get("state") != "READY"})
    if failed:
        hint = " This Triton has only the python and onnxruntime backends." if own else ""
        raise QuickstartError(f"not READY: {', '.join(failed)}; the table says why.{hint}")
    _say(f"{len(rows)} of {len(rows)} READY")


def _infer(server: TritonServer, rows: Sequence[Mapping[str, Any]], *, own: bool) -> None:
    """Send one inference to ``simple`` and check its sums and differences; a user's own may be another model."""
    if own and not _is_simple(server, rows):
        _say("no model named simple with Triton's example shape here: no inference sent")
        return
    left, right = list(range(16)), [7] * 16
    answer = server.infer("simple", {"INPUT0": ("INT32", [1, 16], left), "INPUT1": ("INT32", [1, 16], right)})
    sums = [a + b for a, b in zip(left, right, strict=True)]
    differences = [a - b for a, b in zip(left, right, strict=True)]
    if answer != {"OUTPUT0": sums, "OUTPUT1": differences}:
        raise QuickstartError(f"simple answers wrongly to {left} and {right}: {answer}")
    _say(f"POST /v2/models/simple/infer: {left[-1]} + {right[-1]} = {answer['OUTPUT0'][-1]}, and all 16 sums are right")


def _is_simple(server: TritonServer, rows: Sequence[Mapping[str, Any]]) -> bool:
    if not any(row["name"] == "simple" for row in rows):
        return False
    told = server.metadata("simple")
    inputs = {entry["name"]: (entry["datatype"], entry["shape"]) for entry in told["inputs"]}
    wanted = ("INT32", [-1, 16])
    outputs = {entry["name"] for entry in told["outputs"]}
    return inputs == {"INPUT0": wanted, "INPUT1": wanted} and outputs == {"OUTPUT0", "OUTPUT1"}


def _left_behind(work: Path) -> list[str]:
    """Remove the work folder and return what is left of this run: mounts, processes, files."""
    left = [f"mount {path}" for path in _mountpoints() if path.startswith(str(work))]
    if not left:
        shutil.rmtree(work, ignore_errors=True)
    deadline = time.monotonic() + END_S
    while (processes := _processes(work)) and time.monotonic() < deadline:
        time.sleep(0.05)  # a daemon ends a moment after its mount
    left += [f"process {process}" for process in processes]
    left += [f"folder {work}"] if work.exists() else []
    return left


def _mountpoints() -> list[str]:
    """Return where something is mounted, from the kernel's list: a stat of a broken mount would tell nothing."""
    return [entry.mountpoint for entry in mount_table()]


def _processes(work: Path) -> list[int]:
    """Return the processes whose command line names the work folder, which no other run has."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it ended while we looked
            if folder.name.isdigit() and str(work).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def _say(text: str) -> None:
    print(f"quickstart: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
