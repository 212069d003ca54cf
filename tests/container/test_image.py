"""The image: what it is told to be, what it holds, and what it must not hold."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from container.podman import ROOT, Podman

from modelfs import __version__

DOCKERFILE = ROOT / "packaging/Dockerfile"


@pytest.fixture(scope="module")
def description(engine: Podman, image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(engine("image", "inspect", image).stdout)
    return found[0]


def in_image(engine: Podman, image: str, script: str) -> str:
    done = engine("run", "--rm", "--pull=never", "--network=none", "--entrypoint=sh", image, "-c", script)
    return done.stdout.strip()


def test_image_runs_modelfs_as_pid_1_and_stops_by_sigterm(description: dict[str, Any]) -> None:
    assert description["Config"]["Entrypoint"] == ["modelfs"]
    assert description["Config"]["StopSignal"] == "SIGTERM"
    assert description["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_image_holds_this_version(engine: Podman, image: str) -> None:
    done = engine("run", "--rm", "--pull=never", "--network=none", image, "--version")
    assert done.stdout == f"modelfs {__version__}\n"


def test_image_has_neither_compiler_nor_installer(engine: Podman, image: str) -> None:
    tools = "gcc cc ld pip pip3 uv cython git"
    assert in_image(engine, image, f"for tool in {tools}; do command -v $tool; done; python3 -m pip 2>&1 || true") == (
        "/opt/modelfs/bin/python3: No module named pip"
    )


def test_image_needs_no_writing_to_start_fast(engine: Podman, image: str) -> None:
    script = "cd /opt/modelfs/lib/python3*/site-packages/modelfs && ls __pycache__/worker.*.pyc"
    assert in_image(engine, image, script).endswith(".pyc")


def test_image_can_ask_every_service_that_hands_out_aws_credentials(engine: Podman, image: str) -> None:
    services = "('s3', 'signin', 'sso', 'sso-oidc', 'sts')"
    code = f"import botocore.session as b; [b.Session().create_client(n, region_name='eu-west-1') for n in {services}]"
    assert in_image(engine, image, f'python3 -c "{code}" && echo all') == "all"


def test_image_holds_only_what_it_runs(engine: Podman, image: str, description: dict[str, Any]) -> None:
    assert in_image(engine, image, "ls -A /build /root/.cache /var/lib/apt/lists 2>/dev/null || true") == (
        "/var/lib/apt/lists:"
    )
    assert not [each for each in description["Config"]["Env"] if re.search("KEY|SECRET|TOKEN|PASS", each)]


def test_recipe_names_no_host() -> None:
    for path in (DOCKERFILE, *DOCKERFILE.parent.glob("requirements-*.lock")):
        assert not re.search(r"://|--index-url|--find-links", _without_comments(path)), path


def test_only_what_the_recipe_copies_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert allowed == {source for line in copied for source in line.split()}


def _without_comments(path: Path) -> str:
    return "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
