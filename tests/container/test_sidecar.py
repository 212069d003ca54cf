"""modelfs in one container, its reader in another: what passes between them, in life and after each kind of death."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from container.pod import PRIVILEGED, Pod, digests_in, digests_of, least_privileges
from container.podman import Container
from container.test_manifest import MANIFEST, named
from faultserver import FaultServer, Keys, write_stamped
from mount.mounting_for_tests import is_mounted, wait_until

DEAD = "Transport endpoint is not connected"


def init_containers() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]["initContainers"]
    return found


def probe(container: Container) -> int:
    """Run the manifest's startup probe and return its exit status."""
    return container.execute(*named("modelfs", init_containers())["startupProbe"]["exec"]["command"]).returncode


def sees_no_mount(consumer: Container) -> bool:
    listed = consumer.execute("ls", "-A", "/mnt/models")
    return (listed.returncode, listed.stdout) == (0, "") and consumer.execute(
        "mountpoint", "-q", "/mnt/models"
    ).returncode != 0


def test_consumer_reads_every_byte(pod: Pod, repository: Path) -> None:
    pod.sidecar(str(repository), options=PRIVILEGED)
    assert digests_in(pod.consumer()) == digests_of(repository)


def test_documented_privileges_suffice_without_a_warning(pod: Pod, repository: Path) -> None:
    options = least_privileges()
    assert {"--cap-drop=ALL", "--cap-add=SYS_ADMIN", "--read-only", "--security-opt=no-new-privileges"} <= {*options}
    sidecar = pod.sidecar(str(repository), options=options)
    assert digests_in(pod.consumer()) == digests_of(repository)
    assert "WARNING" not in sidecar.said()


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("--cap-add=SYS_ADMIN", "SYS_ADMIN"),
        ("--device=/dev/fuse", "/dev/fuse"),
        ("--tmpfs=/run", "--runtime-dir"),
    ],
)
def test_each_documented_privilege_is_needed(pod: Pod, repository: Path, missing: str, advice: str) -> None:
    options = [each for each in least_privileges() if each != missing]
    options += [f"--volume={repository}:{repository}:ro", f"--volume={pod.volume}:/mnt:rshared"]
    ended = pod.podman.run(pod.image, "mount", str(repository), "/mnt/models", options=options)
    assert ended.wait() == 2
    assert advice in ended.said()


def test_consumer_reads_an_s3_store_with_keys_from_the_environment(pod: Pod, repository: Path) -> None:
    keys = Keys("key-of-the-test", "secret-of-the-test")
    with FaultServer(keys=keys) as store:
        for path in repository.rglob("*"):
            if path.is_file():
                store.put("bucket", f"models/{path.relative_to(repository)}", path)
        credentials = [
            f"--env=AWS_ACCESS_KEY_ID={keys.access_key_id}",
            f"--env=AWS_SECRET_ACCESS_KEY={keys.secret_access_key}",
        ]
        sidecar = pod.sidecar(
            f"s3://127.0.0.1:{store.port}/bucket/models", options=["--privileged", "--network=host", *credentials]
        )
        assert digests_in(pod.consumer()) == digests_of(repository)
        assert sidecar.signal("TERM") == 0
        assert keys.secret_access_key not in sidecar.said()


def test_after_sigterm_the_mount_is_gone_and_a_restart_brings_it_back(pod: Pod, repository: Path) -> None:
    early = pod.consumer()
    sidecar = pod.sidecar(str(repository))
    late = pod.consumer()
    assert probe(sidecar) == 0
    assert digests_in(early) == digests_in(late) == digests_of(repository)

    assert sidecar.signal("TERM") == 0
    assert not is_mounted(pod.models)
    assert os.listdir(pod.models) == []
    assert sees_no_mount(early)
    assert sees_no_mount(late)

    pod.sidecar(str(repository))
    assert digests_in(early) == digests_in(late) == digests_of(repository)


def test_sigterm_detaches_a_mount_that_a_consumer_holds_open(pod: Pod, repository: Path) -> None:
    sidecar = pod.sidecar(str(repository))
    consumer = pod.consumer()
    pod.podman("exec", "--detach", consumer.name, "sh", "-c", "exec 3< /mnt/models/model/1/large; exec sleep infinity")
    wait_until(lambda: "large" in consumer.execute("sh", "-c", "ls -l /proc/[0-9]*/fd/3").stdout)

    assert sidecar.signal("TERM") == 0
    assert sees_no_mount(consumer)
    assert not is_mounted(pod.models)

    pod.sidecar(str(repository))
    assert digests_in(consumer) == digests_of(repository)


def test_after_sigkill_readers_get_an_error_and_the_next_start_heals(pod: Pod, repository: Path) -> None:
    consumer = pod.consumer()
    sidecar = pod.sidecar(str(repository))
    assert digests_in(consumer) == digests_of(repository)

    assert sidecar.signal("KILL") == 137
    with pytest.raises(OSError, match=DEAD) as refused:
        os.listdir(pod.models)  # unlike a stat, which the kernel answers from memory
    assert refused.value.errno == errno.ENOTCONN
    assert DEAD in consumer.execute("cat", "/mnt/models/model/1/large").stderr
    assert probe(consumer) != 0

    pod.sidecar(str(repository))
    assert digests_in(consumer) == digests_of(repository)


READ_WHAT_IS_OPEN = """
for process in /proc/[0-9]*; do
    [ "$(readlink $process/fd/3)" != /mnt/models/model/1/large ] || exec cat $process/fd/3 >/dev/null
done
exit 1
"""


def test_a_worker_that_is_killed_in_the_sidecar_is_replaced_under_its_consumer(pod: Pod, repository: Path) -> None:
    sidecar = pod.sidecar(str(repository))
    consumer = pod.consumer()
    pod.podman("exec", "--detach", consumer.name, "sh", "-c", "exec 3< /mnt/models/model/1/large; exec sleep infinity")
    for _ in range(2):
        killed = sidecar.execute("sh", "-c", "kill -KILL $(cat /proc/1/task/1/children)")
        assert killed.returncode == 0, killed.stderr
        assert digests_in(consumer) == digests_of(repository)
        assert probe(consumer) == 0
    assert consumer.execute("sh", "-c", READ_WHAT_IS_OPEN).returncode == 0
    assert sidecar.signal("TERM") == 0
    assert not is_mounted(pod.models)


def test_file_larger_than_both_containers_may_be_streams_through(pod: Pod, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "model/1").mkdir(parents=True)
    write_stamped(repository / "model/1/weights", "model/1/weights", "v1", 400_000_000)
    small = ["--memory=256m", "--memory-swap=256m"]
    pod.sidecar(str(repository), "--memory=64M", options=[*PRIVILEGED, *small])
    assert digests_in(pod.consumer(options=small)) == digests_of(repository)


def test_manifests_mount_point_is_made_in_an_empty_volume_and_left_alone_when_dead(pod: Pod, repository: Path) -> None:
    command = named("mount-point", init_containers())["command"]
    options = ["--network=none", f"--volume={pod.volume}:/mnt:rslave", f"--entrypoint={command[0]}"]

    def make() -> int:
        return pod.podman.run(pod.image, *command[1:], options=options).wait()

    pod.models.rmdir()
    assert make() == 0
    assert pod.models.is_dir()
    pod.sidecar(str(repository)).signal("KILL")
    assert make() == 0
    pod.sidecar(str(repository))


def test_startup_probe_fails_without_a_mount(pod: Pod) -> None:
    assert probe(pod.consumer()) != 0


def test_bad_url_ends_the_container_with_one_line_and_status_2(pod: Pod) -> None:
    ended = pod.podman.run(pod.image, "mount", "s4://bucket", "/mnt/models", options=PRIVILEGED)
    assert ended.wait() == 2
    assert len(ended.said().splitlines()) == 1


def test_second_signal_during_the_end_changes_nothing(pod: Pod, repository: Path) -> None:
    sidecar = pod.sidecar(str(repository))
    pod.podman("kill", "--signal=TERM", sidecar.name)
    pod.podman("kill", "--signal=TERM", sidecar.name, check=False)
    assert sidecar.wait() == 0
    wait_until(lambda: not is_mounted(pod.models))
