"""The store of a benchmark as a process of its own: ``python -m bench.store_process [DIALECT]``.

Law: it is told what to do on its input: one JSON object a line comes in, one goes out. The bodies go by sendfile from
files in tmpfs, without Python and without a copy, and the store shares the machine with what is measured but not its
interpreter.
"""

import json
import sys
from pathlib import Path
from typing import Any, cast

from faultserver import DialectName, Fault, FaultServer, Latency, Rate, TotalRate


def answer(server: FaultServer, told: dict[str, Any]) -> dict[str, Any]:
    """Do one command and return what it found."""
    match told["do"]:
        case "put":
            for key, path in told["objects"].items():
                server.put("models", key, Path(path), mtime_ns=1_700_000_000_000_000_000)
        case "fill":
            for model in range(told["models"]):
                for number in range(told["files"]):
                    key = f"models/model_{model:04d}/1/file_{number:04d}"
                    server.put("models", key, b"x", mtime_ns=1_700_000_000_000_000_000)
        case "shape":
            _shape(server, told)
        case "reset":
            server.clear_log()
        case "tell":
            server.wait_until_idle(told["wait_s"])
            records = server.requests()
            reads = [record for record in records if record.kind == "get"]
            return {"requests": len(records), "gets": len(reads), "bytes": sum(record.bytes_sent for record in reads)}
        case other:
            raise ValueError(f"the benchmark's store knows no command {other!r}")
    return {}


def _shape(server: FaultServer, told: dict[str, Any]) -> None:
    server.heal()
    if told["latency_s"]:
        server.fail(Fault(Latency(told["latency_s"])))
    if told["connection_bytes_per_s"]:
        server.fail(Fault(Rate(told["connection_bytes_per_s"])))
    if told["total_bytes_per_s"]:
        server.fail(Fault(TotalRate(told["total_bytes_per_s"])))


def main() -> None:
    """Serve until the input ends."""
    dialect = cast("DialectName", sys.argv[1] if len(sys.argv) > 1 else "s3")
    with FaultServer(dialect) as server:
        server.create_bucket("models")
        print(json.dumps({"url": server.url}), flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(server, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
