"""Serve a folder as a store: ``python -m faultserver FOLDER``. Each folder in it is a bucket.

For benchmarks, where client and server should not share an interpreter; it prints its URL and serves until SIGINT or
SIGTERM. Latency and rate make loopback look like a cloud: real stores answer after 15 to 100 ms and give one connection
about 90 MB/s.
"""

import argparse
import signal
from pathlib import Path

from faultserver.faults import Fault, Latency, Rate
from faultserver.server import FaultServer


def main() -> None:
    """Fill the server from the folder and serve it."""
    parser = argparse.ArgumentParser(prog="faultserver", description="Serve a folder as an object store on loopback.")
    parser.add_argument("folder", type=Path, help="each folder in it is a bucket")
    parser.add_argument("--dialect", choices=["s3", "gcs", "azure"], default="s3")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency-ms", type=float, help="before the first byte of each answer")
    parser.add_argument("--mb-per-s", type=float, help="on each connection")
    told = parser.parse_args()
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before any thread starts, so that only sigwait below sees them
    with FaultServer(told.dialect, port=told.port) as server:
        _fill(server, told.folder)
        if told.latency_ms is not None:
            server.fail(Fault(Latency(told.latency_ms / 1000)))
        if told.mb_per_s is not None:
            server.fail(Fault(Rate(told.mb_per_s * 1e6)))
        print(server.url, flush=True)
        signal.sigwait(ends)


def _fill(server: FaultServer, folder: Path) -> None:
    for bucket in sorted(each for each in folder.iterdir() if each.is_dir()):
        server.create_bucket(bucket.name)
        for path in sorted(each for each in bucket.rglob("*") if each.is_file()):
            key = path.relative_to(bucket).as_posix()
            server.put(bucket.name, key, path.absolute(), mtime_ns=path.stat().st_mtime_ns)


if __name__ == "__main__":
    main()
