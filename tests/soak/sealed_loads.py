"""Upload, seal and load, again and again, with a real Triton: each load must find what was sealed just before it.

``python tests/soak/sealed_loads.py --loads 50`` says how many did, and what a load cost the store. Busy loops beside it
(``--busy 4``) show what a machine with too much to do makes of the default of ``--look``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "packaging" / "quickstart")]

import tritonserver  # noqa: E402  where the paths are known
from faultserver import Fault, FaultServer, Keys, Latency  # noqa: E402  as above
from mount.mounting_for_tests import ACCESS_KEY, SECRET_KEY, mounted  # noqa: E402  as above

from modelfs import manifest  # noqa: E402  as above
from modelfs.blocks import ObjectInfo  # noqa: E402  as above

START_S = 240.0
LONG_AGO_NS = 1_700_000_000 * 10**9
LATER_S = 0.1  # from the seal to the load

CONFIG = b'backend: "python" output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] } ]'
SCRIPT = """
import numpy
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        told = pb_utils.Tensor("OUT", numpy.array([NUMBER], dtype=numpy.int32))
        return [pb_utils.InferenceResponse(output_tensors=[told]) for _ in requests]
"""


@dataclass
class Loads:
    """What came of some loads: which version each found (0 for an error), how long it took, and all their listings."""

    found: dict[int, int] = field(default_factory=dict)
    took_s: list[float] = field(default_factory=list)
    listings: int = 0

    @property
    def wrong(self) -> dict[int, int]:
        """Return what the loads found that did not find what was sealed."""
        return {number: found for number, found in self.found.items() if found != number}


def put_version(store: FaultServer, number: int, *, mtime_ns: int | None = None) -> None:
    """Upload a version of the model m that tells its number."""
    script = SCRIPT.replace("NUMBER", str(number)).encode()
    store.put("models", f"repository/m/{number}/model.py", script, mtime_ns=mtime_ns)


def seal(store: FaultServer, number: int) -> None:
    """Seal a version, as ``modelfs seal`` does, which takes a second."""
    found = store.get("models", f"repository/m/{number}/model.py")
    assert found is not None
    files = {"model.py": ObjectInfo("model.py", found.size, found.etag, found.mtime_ns)}
    text = manifest.compose(files, sealed_at="2026-01-01T00:00:00Z")
    store.put("models", f"repository/m/{number}/{manifest.MANIFEST_NAME}", text)


def load_sealed(
    triton: Path,
    folder: Path,
    *,
    loads: int,
    latency_s: float = 0.0,
    asks_index: bool = False,
    options: tuple[str, ...] = (),
) -> Loads:
    """Mount a store below ``folder``, which must be empty, and load so many versions, each 100 ms after its seal.

    With ``asks_index`` Triton reads its repository just before each upload, as those do who look what is loaded.
    """
    outcome = Loads()
    with FaultServer(keys=Keys(ACCESS_KEY, SECRET_KEY)) as store:
        store.create_bucket("models")
        store.put("models", "repository/m/config.pbtxt", CONFIG, mtime_ns=LONG_AGO_NS)
        put_version(store, 1, mtime_ns=LONG_AGO_NS)
        if latency_s:
            store.fail(Fault(Latency(latency_s)))
        url = f"s3://127.0.0.1:{store.port}/models/repository"
        with (
            mounted(url, folder, "--refresh", "3600", "--settle", "600", *options) as mount,
            tritonserver.TritonServer(triton, mount.path, log=folder / "log", mode="explicit", models=["m"]) as server,
        ):
            server.wait_ready(START_S)
            store.clear_log()
            for number in range(2, 2 + loads):
                if asks_index:
                    server.index()
                put_version(store, number)
                seal(store, number)
                time.sleep(LATER_S)
                began_s = time.monotonic()
                try:
                    server.load("m")
                    outcome.found[number] = server.infer("m", {})["OUT"][0]
                except tritonserver.TritonError as error:
                    outcome.found[number] = 0
                    sys.stderr.write(f"load {number}: {error}\n")
                outcome.took_s.append(time.monotonic() - began_s)
            outcome.listings = len(store.requests(kind="list"))
    return outcome


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep so many cores busy."""
    with ExitStack() as stack:
        for _ in range(loops):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def main() -> None:
    """Load as often as the command line says, and end with status 1 where a load found something else."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=int, default=50)
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside it")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="of each answer of the store")
    parser.add_argument("--index", action="store_true", help="ask for Triton's index before each upload")
    parser.add_argument("--look", default="0.5", help="as of the mount")
    told = parser.parse_args()
    triton = tritonserver.install(ROOT / ".cache")
    with tempfile.TemporaryDirectory(prefix="modelfs-loads-") as folder, busy(told.busy):
        outcome = load_sealed(
            triton,
            Path(folder),
            loads=told.loads,
            latency_s=told.latency_ms / 1000,
            asks_index=told.index,
            options=("--look", told.look),
        )
    took_s = sorted(outcome.took_s)
    print(f"{len(outcome.found) - len(outcome.wrong)} of {len(outcome.found)} loads found what was sealed")
    print(f"listings: {outcome.listings}; a load: {took_s[len(took_s) // 2]:.2f} s, at most {took_s[-1]:.2f} s")
    if outcome.wrong:
        print(f"wrong: {outcome.wrong}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
