"""The Kubernetes manifest: valid offline, and right where a schema does not look.

kubernetes-validate knows types and names but lets wrong enum values pass, so those are asserted here by hand.
"""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelfs import __version__

MANIFEST = Path(__file__).parents[2] / "packaging/kubernetes/triton-with-modelfs.yaml"
MOUNT = Path("/mnt/models")


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(MANIFEST.read_text()) if each is not None]


@pytest.fixture(scope="module")
def pod(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = [each for each in documents if each["kind"] == "Deployment"]
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def sidecar(pod: dict[str, Any]) -> dict[str, Any]:
    return named("modelfs", pod["initContainers"])


@pytest.fixture(scope="module")
def triton(pod: dict[str, Any]) -> dict[str, Any]:
    return named("triton", pod["containers"])


def named(name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [each for each in items if each["name"] == name]
    return found


@pytest.mark.parametrize("version", ["1.29", "1.33"])
def test_manifest_is_valid_for_the_oldest_and_a_recent_kubernetes(
    documents: list[dict[str, Any]], version: str
) -> None:
    for each in documents:
        kubernetes_validate.validate(each, version, strict=True)


def test_sidecar_is_native_and_starts_before_triton(sidecar: dict[str, Any], pod: dict[str, Any]) -> None:
    assert sidecar["restartPolicy"] == "Always"
    assert pod["initContainers"][-1] is sidecar  # nothing that is not a sidecar may wait behind it
    assert [each["name"] for each in pod["containers"]] == ["triton"]


def test_mount_propagates_from_the_sidecar_to_triton(sidecar: dict[str, Any], triton: dict[str, Any]) -> None:
    assert named("shared", sidecar["volumeMounts"])["mountPropagation"] == "Bidirectional"
    assert sidecar["securityContext"]["privileged"] is True
    reader = named("shared", triton["volumeMounts"])
    assert reader["mountPropagation"] == "HostToContainer"
    assert reader["readOnly"] is True


def test_triton_is_not_privileged(triton: dict[str, Any]) -> None:
    assert "privileged" not in triton["securityContext"]
    assert triton["securityContext"]["allowPrivilegeEscalation"] is False


def test_mount_is_a_subdirectory_of_the_shared_volume(sidecar: dict[str, Any], triton: dict[str, Any]) -> None:
    for each in (sidecar, triton):
        assert Path(named("shared", each["volumeMounts"])["mountPath"]) == MOUNT.parent
    assert sidecar["args"][0] == "mount"
    assert sidecar["args"][-1] == str(MOUNT)
    assert f"--model-repository={MOUNT}" in triton["args"]


def test_sidecar_stays_in_the_foreground_also_when_it_is_not_pid_1(sidecar: dict[str, Any]) -> None:
    assert "--foreground" in sidecar["args"]  # with shareProcessNamespace PID 1 is somebody else


def test_triton_waits_until_the_mount_answers(sidecar: dict[str, Any]) -> None:
    (shell, option, script) = sidecar["startupProbe"]["exec"]["command"]
    assert (shell, option) == ("sh", "-c")
    assert f"mountpoint -q {MOUNT} && ls {MOUNT}" in script


def test_read_only_root_leaves_modelfs_a_place_for_its_socket(sidecar: dict[str, Any], pod: dict[str, Any]) -> None:
    assert sidecar["securityContext"]["readOnlyRootFilesystem"] is True
    assert named("run", sidecar["volumeMounts"])["mountPath"] == "/run"
    assert named("run", pod["volumes"])["emptyDir"]["medium"] == "Memory"


def test_the_times_that_were_shown_outlive_a_restart_of_the_sidecar(
    sidecar: dict[str, Any], pod: dict[str, Any]
) -> None:
    assert named("state", sidecar["volumeMounts"])["mountPath"] == "/var/lib/modelfs"
    assert "emptyDir" in named("state", pod["volumes"])


def test_what_was_read_outlives_the_pod(sidecar: dict[str, Any], pod: dict[str, Any]) -> None:
    assert named("cache", sidecar["volumeMounts"])["mountPath"] == "/var/cache/modelfs"
    assert named("cache", pod["volumes"])["hostPath"]["type"] == "DirectoryOrCreate"


def test_credentials_come_by_reference_only(sidecar: dict[str, Any]) -> None:
    assert sidecar["envFrom"] == [{"secretRef": {"name": "modelfs-credentials"}}]
    values = [each["name"] for each in sidecar["env"] if "value" in each]
    assert not [name for name in values if "KEY" in name or "SECRET" in name or "TOKEN" in name]


def test_images_are_of_this_version(pod: dict[str, Any]) -> None:
    assert {each["image"] for each in pod["initContainers"]} == {f"modelfs:{__version__}"}


def test_a_service_named_modelfs_does_not_reach_the_configuration(pod: dict[str, Any]) -> None:
    assert pod["enableServiceLinks"] is False  # it would bring MODELFS_PORT and more into the environment


def test_every_mounted_volume_exists(pod: dict[str, Any]) -> None:
    volumes = {each["name"] for each in pod["volumes"]}
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert {each["name"] for each in container["volumeMounts"]} <= volumes
