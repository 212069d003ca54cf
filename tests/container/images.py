"""The image under test and its base, made without an image registry.

Law: the Dockerfile is built as it stands. What this machine needs to reach Python's registry (a certificate bundle,
an index) is mounted over the build, never written into a layer; the base is Debian's own bootstrap, under its usual
name.
"""

import configparser
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from container.podman import CACHE, ROOT, Podman

BASE = "docker.io/library/debian:12-slim"
IMAGE = "localhost/modelfs-under-test"
BUILD_S = 400.0  # compiles pyfuse3; bounds a hang
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists")


def make_base(podman: Podman) -> None:
    """Import Debian 12 under the name that the Dockerfile begins FROM, unless the storage has it."""
    if podman("image", "exists", BASE, check=False).returncode == 0:
        return
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        tree, archive = Path(folder) / "tree", Path(folder) / "tree.tar"
        bootstrap = ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(tree)]
        done = subprocess.run(bootstrap, capture_output=True, text=True, timeout=BUILD_S, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        for name in _DROPPED:
            shutil.rmtree(tree / name)
            (tree / name).mkdir(parents=True)
        subprocess.run(["tar", "-C", tree, "-cf", archive, "."], timeout=BUILD_S, check=True)
        podman("import", str(archive), BASE)


def build(podman: Podman) -> str:
    """Build the image from the working tree and return its name. Layers that did not change come from the storage."""
    command = ["build", "--isolation=chroot", "--pull=never", f"--file={ROOT / 'packaging/Dockerfile'}"]
    for source, target in _of_this_machine().items():
        command.append(f"--volume={source}:{target}:ro")
    # the build stage has a name of its own, or pruning would take its layers
    podman(*command, "--target=build", f"--tag={IMAGE}-build", str(ROOT), timeout_s=BUILD_S)
    podman(*command, f"--tag={IMAGE}", str(ROOT), timeout_s=BUILD_S)
    podman("image", "prune", "--force")
    return IMAGE


def _of_this_machine() -> dict[Path, str]:
    """Return what to mount over the build, and where: this machine's certificates, and what its pip is told."""
    told = configparser.ConfigParser(interpolation=None)
    told.read("/etc/pip.conf")
    found = {
        key: os.environ.get(f"PIP_{key.upper().replace('-', '_')}") or told.get("global", key, fallback=None)
        for key in ("cert", "index-url")
    }
    bundle = found["cert"]
    lines = ["[global]", *(f"{key} = {value}" for key, value in {**found, "cert": bundle and _BUNDLE}.items() if value)]
    configuration = CACHE / "pip.conf"
    configuration.write_text("\n".join(lines) + "\n")
    return {configuration: "/etc/pip.conf"} | ({Path(bundle): _BUNDLE} if bundle else {})
