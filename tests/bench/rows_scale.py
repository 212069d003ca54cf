"""Rows on repositories of very many files: what a listing costs behind its last byte, and how it is asked for.

Law: each is measured in a process of its own, whose memory is then its own too.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faultserver import DialectName

from bench.bench import Bench
from bench.children import MeasureError
from bench.million import SHAPES
from bench.store import Link, Store, clean_environment
from bench.table import Finding, Measured, Sample

FAR = Link(latency_s=0.030)
DIALECTS: Sequence[DialectName] = ("s3", "gcs", "azure")
_LIMIT_S = 900.0


def million(bench: Bench) -> Measured:
    """Take listings of a million files, in a thousand models or in one folder, and see how long a stat would wait."""
    rounds: dict[str, list[Sample]] = {}
    findings: list[Finding] = []
    for shape in SHAPES:
        with tempfile.TemporaryDirectory(prefix="modelfs-bench-", dir=bench.disk) as folder:
            steps = _ran("bench.million", shape, str(bench.scale.many), folder)
            remembered = sum(path.stat().st_size for path in Path(folder).iterdir())
        for step in steps:
            peak = int(step["resident_bytes"])
            rounds[f"{shape}: {step['what']}"] = [Sample(step["seconds"], 0, step["cpu_s"], peak)]
        late_ms = max(step["late_ms"] for step in steps)
        findings += [
            Finding(f"{shape}: a stat would have waited, at most", late_ms, "ms", 50, "at most"),
            Finding(f"{shape}: memory for each file", steps[-1]["bytes_each"], "bytes", 1000, "at most"),
            Finding(f"{shape}: on disk for each file", remembered / bench.scale.many, "bytes"),
        ]
    return Measured("million", f"listings of {bench.scale.many} files, without a network", rounds, findings)


def listing(bench: Bench) -> Measured:
    """List a hundred thousand keys, 30 ms to each page: page after page, and in parts as a mount does."""
    rounds: dict[str, list[Sample]] = {}
    findings: list[Finding] = []
    for dialect in DIALECTS:
        with Store(dialect) as store:
            store.fill(models=bench.scale.models, files=bench.scale.keys // bench.scale.models)
            store.shape(FAR)
            told = _ran("bench.listings", store.location("models"), store.url)
        for name, took_s in told["took_s"].items():
            rounds[f"{dialect}, {name}"] = [Sample(each) for each in took_s]
        ratio = statistics.median(told["took_s"]["page after page"]) / statistics.median(
            told["took_s"]["then in parts"]
        )
        findings.append(Finding(f"{dialect}: in parts, times as fast", ratio, "x"))
        findings.append(Finding(f"{dialect}: requests for each 1,000 keys", 1000 * told["pages"] / told["objects"], ""))
    return Measured("listing", f"a listing of {bench.scale.keys} keys, 30 ms", rounds, findings)


def _ran(module: str, *arguments: str) -> Any:
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_LIMIT_S,
            env=clean_environment(),
        )
    except subprocess.SubprocessError as error:
        raise MeasureError(f"{module}: {error} {getattr(error, 'stderr', '')}") from error
    return json.loads(done.stdout)


ROWS = {"million": million, "listing": listing}
