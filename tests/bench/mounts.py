"""What is measured: modelfs and its peers, each mounted anew on the benchmark's store for every round.

Law: a mount that is begun is gone when its context ends, with its processes. A peer that is asked for and is not there
fails the run before anything is measured.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mount.mounting_for_tests import is_mounted, processes_with_environment, wait_until

from bench.children import MeasureError, Watched
from bench.store import BUCKET, Store, clean_environment

Preexec = Callable[[], None] | None
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "peers"
_MOUNT_S = 60.0


@dataclass(frozen=True, slots=True)
class Mounted:
    """A living mount of the store's bucket. ``took_s``: from the command's start until the mount answered a stat."""

    path: Path
    daemon: Watched
    took_s: float


@contextmanager
def modelfs(store: Store, *options: str, prefix: str = "", url: str = "", preexec: Preexec = None) -> Iterator[Mounted]:
    """Mount a prefix of the store by the command line, as a user does."""
    with _folder("modelfs") as folder:
        path, runtime = folder / "mnt", folder / "run"
        path.mkdir()
        settings = {
            "MODELFS_RUNTIME_DIR": str(runtime),
            "MODELFS_STATE_DIR": str(folder / "state"),
            "MODELFS_SETTLE": "0",
            "MODELFS_CACHE_SIZE": "0",
        }
        environment = clean_environment() | settings
        command = [sys.executable, "-m", "modelfs"]
        began_s = time.monotonic()
        log = folder / "log"
        own = ["--log-file", str(log)]
        _run([*command, "mount", url or store.modelfs_url(prefix), str(path), *own, *options], environment, preexec)
        path.stat()
        took_s = time.monotonic() - began_s
        pids = processes_with_environment("MODELFS_RUNTIME_DIR", str(runtime))
        try:
            yield Mounted(path, Watched(pids), took_s)
        except (MeasureError, OSError) as error:
            state = "is still mounted" if is_mounted(path) else "is no longer mounted"
            told = log.read_text(errors="replace")[-1000:] if log.exists() else ""
            raise MeasureError(f"{error}; modelfs {state}, and its log says: {told.strip() or 'nothing'}") from error
        finally:
            subprocess.run(
                [*command, "unmount", "--lazy", str(path)], env=environment, check=False, capture_output=True
            )
            wait_until(lambda: not processes_with_environment("MODELFS_RUNTIME_DIR", str(runtime)))


@contextmanager
def mount_s3(store: Store, *, prefix: str = "") -> Iterator[Mounted]:
    """Mount by Mountpoint for Amazon S3, with its own defaults."""
    options = [
        "--foreground",
        "--read-only",
        "--endpoint-url",
        store.url,
        "--force-path-style",
        "--region",
        "us-east-1",
    ]
    options += ["--prefix", f"{prefix}/"] if prefix else []
    with _peer("mount-s3", lambda path: [*options, BUCKET, str(path)]) as mounted:
        yield mounted


@contextmanager
def geesefs(store: Store, *, prefix: str = "") -> Iterator[Mounted]:
    """Mount by GeeseFS, with its own defaults, but for the kind of listing: the store speaks only version 2."""
    bucket = f"{BUCKET}:{prefix}" if prefix else BUCKET
    with _peer(
        "geesefs", lambda path: ["-f", "--endpoint", store.url, "--list-type", "2", "-o", "ro", bucket, str(path)]
    ) as mounted:
        yield mounted


@contextmanager
def rclone(store: Store, *, prefix: str = "") -> Iterator[Mounted]:
    """Mount by rclone, with its own defaults (no cache of files), but for the kind of listing."""
    told = f"provider=Other,env_auth=true,region=us-east-1,list_version=2,endpoint='{store.url}'"
    remote = f":s3,{told}:{BUCKET}/{prefix}".rstrip("/")
    with _peer("rclone", lambda path: ["mount", "--read-only", remote, str(path)]) as mounted:
        yield mounted


PEERS = {"mount-s3": mount_s3, "geesefs": geesefs, "rclone": rclone}


def known_peer(name: str) -> None:
    """See that a peer that is asked for is known and here. Raises MeasureError."""
    if name == "triton":
        return  # it is installed where it is missing
    if name not in PEERS:
        raise MeasureError(f"there is no peer {name!r}; the peers are {', '.join([*PEERS, 'triton'])}")
    program(name)


def program(name: str) -> Path:
    """Return where a peer's program is: ``.cache/peers`` or the path. Raises MeasureError when it is not there."""
    own = CACHE / name
    found = str(own) if own.is_file() else shutil.which(name)
    if found is None:
        raise MeasureError(f"the peer {name} is asked for and is not here: put it into {CACHE} or on the PATH")
    return Path(found)


@contextmanager
def _peer(name: str, arguments: Callable[[Path], Sequence[str]]) -> Iterator[Mounted]:
    with _folder(name) as folder, (folder / "log").open("w+b") as log:
        path = folder / "mnt"
        path.mkdir()
        began_s = time.monotonic()
        process = subprocess.Popen(
            [str(program(name)), *arguments(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=clean_environment() | {"HOME": str(folder)},
        )
        try:
            while not is_mounted(path):
                if process.poll() is not None or time.monotonic() - began_s > _MOUNT_S:
                    raise MeasureError(f"{name} does not mount: {_tail(log)}")
                time.sleep(0.005)
            try:
                path.stat()
            except OSError as error:
                raise MeasureError(f"{name} mounts and does not answer ({error}): {_tail(log)}") from error
            yield Mounted(path, Watched([process.pid]), time.monotonic() - began_s)
        finally:
            if is_mounted(path):
                subprocess.run(["umount", "--lazy", str(path)], check=False, capture_output=True)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _tail(log: BinaryIO) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-1000:]


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    """Yield a folder; afterwards remove it, but never what a mount that is still there shows."""
    folder = Path(tempfile.mkdtemp(prefix=f"modelfs-bench-{name}-"))
    try:
        yield folder
    finally:
        wait_until(lambda: not is_mounted(folder / "mnt"))
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str], environment: Mapping[str, str], preexec: Preexec) -> None:
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_MOUNT_S,
        check=False,
        preexec_fn=preexec,
        cwd=os.path.sep,
    )
    if done.returncode:
        raise MeasureError(f"modelfs does not mount: {done.stderr.strip()}")
