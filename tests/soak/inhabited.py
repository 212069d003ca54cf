"""One tritonserver on the mounts of many homes at once, and homes that let nobody in.

Law: the mounts are made as users make them, some at a time, and taken away whatever happens.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mount.mounting_for_tests import Mount, environment, is_mounted, mounted
from tritonserver import Mode, TritonServer

from soak.homes import CLOSED, HOMES, Home, town
from soak.playing import START_S
from soak.triton_log import VERBOSE
from soak.witness import ASKED


@dataclass(frozen=True, slots=True)
class Served:
    """Which version of a home's model was ready, and what it answered."""

    home: str
    ready: tuple[str, ...]
    told: list[int]


def serve(home: Path, names: Sequence[str], scratch: Path, mode: Mode) -> list[Served]:
    """Mount these homes and serve all of them from one server."""
    with town(scratch / "town") as stores, ExitStack() as stack:
        homes = [HOMES[name](stores, f"home{number}") for number, name in enumerate(names)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            mounts = list(pool.map(lambda pair: _mount(stack, pair[1], scratch / str(pair[0])), enumerate(homes)))
        more = [f"--model-repository={mount.path}" for mount in mounts[1:]]
        models = [f"home{number}" for number in range(len(homes))]
        log = scratch / "triton.log"
        server = TritonServer(home, mounts[0].path, log=log, mode=mode, extra_arguments=[*VERBOSE, *more])
        with server:
            server.wait_ready(START_S)
            for model in models if mode == "explicit" else ():
                server.load(model)
            index = server.index()
            return [
                Served(
                    name,
                    tuple(row["version"] for row in index if row["name"] == model and row.get("state") == "READY"),
                    server.infer(model, ASKED)["OUT"],
                )
                for name, model in zip(names, models, strict=True)
            ]


@dataclass(frozen=True, slots=True)
class Refused:
    """How a mount was refused: its exit status, what it said on standard error, and whether something was mounted."""

    home: str
    status: int
    said: str
    is_mounted: bool


def be_refused(names: Sequence[str], scratch: Path) -> list[Refused]:
    """Try to mount homes that let nobody in."""
    with town(scratch / "town") as stores:
        return [_refused(name, CLOSED[name](stores), scratch / str(number)) for number, name in enumerate(names)]


def _refused(name: str, home: Home, folder: Path) -> Refused:
    path = folder / "models"
    path.mkdir(parents=True)
    mount = Mount(path, environment(folder / "run", **home.environment))
    done = mount.command("mount", home.url, str(path), *home.options)
    was_mounted = is_mounted(path)
    if was_mounted:
        mount.command("unmount", "--lazy", str(path))
    return Refused(name, done.returncode, done.stderr, was_mounted)


def _mount(stack: ExitStack, home: Home, folder: Path) -> Mount:
    folder.mkdir()
    return stack.enter_context(mounted(home.url, folder, *home.options, **home.environment))
