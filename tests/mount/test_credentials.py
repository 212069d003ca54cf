"""Credentials on a real mount: none is ever visible, and none that changes disturbs a read."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Keys, Stamped, Status, TotalRate
from mount.mounting_for_tests import MODELFS, PATIENCE_S, Mount, environment, is_mounted, mounted, wait_until
from tls_front import TlsFront, make_authority, server_context
from token_endpoints import ROLE, token_endpoints

SECRET, TOKEN, PROXY_WORD, QUERY = "MARKsecret0001", "MARKtoken0002", "MARKproxy0003", "MARKquery0004"
MARKERS = [each.encode() for each in (SECRET, TOKEN, PROXY_WORD, QUERY)]


def found_in(data: bytes) -> list[bytes]:
    return [marker for marker in MARKERS if marker in data]


def write(path: Path, text: str) -> None:
    """Replace a file at once, as those who rotate keys do."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)


@pytest.fixture
def guarded() -> Iterator[FaultServer]:
    with FaultServer(keys=Keys("AKMARK", SECRET, TOKEN)) as server:
        server.create_bucket("models")
        yield server


def check_machine(mount: Mount) -> None:
    """Search what every user of the machine can see, and what a mount's processes hand on."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                assert not found_in((folder / "cmdline").read_bytes()), f"in the arguments of {folder}"
            except OSError:
                continue  # it has just ended
    for table in ("/proc/mounts", "/proc/self/mountinfo"):
        assert not found_in(Path(table).read_bytes())
    assert mount.processes()
    for pid in mount.processes():
        limit = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line)
        assert limit.split()[4:6] == ["0", "0"], "a core file would hold the credentials"
        assert not found_in(Path(f"/proc/{pid}/environ").read_bytes()), f"in the environment of {pid}"


def check_words(mount: Mount, folder: Path) -> None:
    """Search what modelfs says and writes."""
    for arguments in (("status",), ("status", "--json"), ("check", str(mount.path))):
        done = mount.command(*arguments)
        assert arguments[0] == "status" or "endpoint" in done.stdout, "the worker has tried its store"
        assert not found_in((done.stdout + done.stderr).encode())
    for path in [*(folder / "run").rglob("*"), *folder.glob("*.log*")]:
        if path.is_file():
            assert not found_in(path.read_bytes()), path


@pytest.mark.parametrize(("engine", "by"), [("obstore", "environment"), ("fsspec", "triton's file")])
def test_no_marker_is_anywhere(guarded: FaultServer, tmp_path: Path, engine: str, by: str) -> None:
    guarded.put("models", "repository/m/1/x", Stamped("x", "v1", 60_000_000))
    log = tmp_path / "debug.log"
    options = ("--log-level", "debug", "--log-file", str(log), "--refresh", "1", "--read-deadline", "2")
    given = {"AWS_ACCESS_KEY_ID": "AKMARK", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    given["HTTPS_PROXY"] = f"http://user:{PROXY_WORD}@127.0.0.1:1"
    if by == "triton's file":
        entry = {"key_id": "AKMARK", "secret_key": SECRET, "session_token": TOKEN}
        write(tmp_path / "triton.json", json.dumps({"s3": {"": entry}}))
        given = {"TRITON_CLOUD_CREDENTIAL_PATH": str(tmp_path / "triton.json")}
    url = f"s3://127.0.0.1:{guarded.port}/models/repository"
    with mounted(url, tmp_path, "--engine", engine, *options, **given) as mount:
        path = mount.path / "m/1/x"
        for number, status in enumerate((403, 500, 400)):
            fault = guarded.fail(Fault(Status(status, "InvalidToken" if status == 400 else None)))
            with pytest.raises(OSError, match="Errno"), path.open("rb", buffering=0) as file:
                os.pread(file.fileno(), 4096, 20_000_000 + number * 15_000_000)
            assert fault.hits
            guarded.heal(fault)
        assert mount.engine() == engine
        check_machine(mount)
        check_words(mount, tmp_path)
    assert "trying again" in log.read_text()


@pytest.mark.parametrize(
    "url",
    [
        f"s3://user:{SECRET}@127.0.0.1:1/bucket",
        f"s3://127.0.0.1:1/bucket/path?X-Amz-Signature={QUERY}",
        f"as://account/container?sv=2024&sig={QUERY}",
        f"https://account.blob.core.windows.net/container?sig={QUERY}",
        f"wasb://container:{SECRET}@account/path?sig={QUERY}",
        f"https://user:{SECRET}@example.org/path?sig={QUERY}",
    ],
)
def test_no_secret_of_a_url_is_in_a_complaint(tmp_path: Path, url: str) -> None:
    nowhere = {"HTTPS_PROXY": f"http://u:{PROXY_WORD}@127.0.0.1:1", "AWS_EC2_METADATA_DISABLED": "true"}
    for command in (("mount", url, str(tmp_path), "--mount-timeout", "1"), ("ls", url, "--mount-timeout", "1")):
        done = subprocess.run(
            [*MODELFS, *command, "--connect-timeout", "0.5"],
            env={**environment(tmp_path / "run"), **nowhere, "MODELFS_DEBUG": "1"},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert b"Traceback" not in done.stderr
        assert not found_in(done.stdout + done.stderr), done.stderr


@pytest.mark.parametrize("options", [(), ("--foreground",)], ids=["background", "foreground"])
def test_no_process_has_the_urls_token_in_its_environment(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "models").mkdir()
    with FaultServer("azure") as server:
        server.put("models", "repository/m/1/x", b"content")
        url = f"as://127.0.0.1:{server.port}/account/models/repository?sv=2024&sig={QUERY}"
        given = environment(tmp_path / "run", MODELFS_URL=url, MODELFS_MOUNTPOINT=str(tmp_path / "models"))
        mount = Mount(tmp_path / "models", given)
        log = tmp_path / "debug.log"
        command = [*MODELFS, "mount", "--log-level", "debug", "--log-file", str(log), *options]
        with subprocess.Popen(command, env=given, stdout=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: is_mounted(mount.path))
                assert (mount.path / "m/1/x").read_bytes() == b"content"
                wait_until(lambda: len(mount.processes()) == 2)
                check_machine(mount)
                check_words(mount, tmp_path)
                assert [each for each in server.requests() if each.query.get("sig") == QUERY]
            finally:
                mount.command("unmount", str(mount.path))
                process.wait(PATIENCE_S)
    assert process.returncode == 0


def test_no_process_of_several_mounts_has_the_keys_in_its_environment(guarded: FaultServer, tmp_path: Path) -> None:
    guarded.put("models", "repository/m/1/x", b"content")
    keys = {"AWS_ACCESS_KEY_ID": "AKMARK", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    mounts = [Mount(tmp_path / name, environment(tmp_path / "run", **keys)) for name in "ab"]
    text = ""
    for mount in mounts:
        mount.path.mkdir()
        text += f'[[mounts]]\nurl = "s3://127.0.0.1:{guarded.port}/models/repository"\nmountpoint = "{mount.path}"\n'
    write(tmp_path / "config.toml", text)
    command = [*MODELFS, "mount", "--all", "--foreground", "--config", str(tmp_path / "config.toml")]
    with subprocess.Popen(command, env=mounts[0].env, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: all(is_mounted(mount.path) for mount in mounts))
            wait_until(lambda: len(mounts[0].processes()) == 5)  # the parent, and two for each mount
            assert [(mount.path / "m/1/x").read_bytes() for mount in mounts] == [b"content"] * 2
            assert process.pid in mounts[0].processes()
            check_machine(mounts[0])
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    assert process.returncode == 0


def test_program_that_gives_credentials_still_has_the_environment(guarded: FaultServer, tmp_path: Path) -> None:
    guarded.put("models", "repository/m/1/x", b"content")
    program = tmp_path / "give"
    answer = '{"Version": 1, "AccessKeyId": "AKMARK", "SecretAccessKey": "%s", "SessionToken": "%s"}'
    program.write_text(f'#!/bin/sh\nprintf \'{answer}\' "$VAULT_SECRET" "$VAULT_TOKEN"\n')
    program.chmod(0o700)
    write(tmp_path / "config", f"[default]\ncredential_process = {program}\n")
    given = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONFIG_FILE": str(tmp_path / "config")}
    given |= {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "absent"), "VAULT_SECRET": SECRET, "VAULT_TOKEN": TOKEN}
    with mounted(f"s3://127.0.0.1:{guarded.port}/models/repository", tmp_path, **given) as mount:
        assert (mount.path / "m/1/x").read_bytes() == b"content"
        check_machine(mount)


def test_assumed_roles_secrets_are_not_logged_either(tmp_path: Path) -> None:
    with token_endpoints() as endpoints, FaultServer(keys=Keys("ASIAROLE", SECRET, TOKEN)) as server:
        endpoints.secret, endpoints.session_token = SECRET, TOKEN
        server.put("models", "repository/m/1/x", b"content")
        base = "[base]\naws_access_key_id = AKBASE\naws_secret_access_key = base\n"
        write(tmp_path / "credentials", base)
        write(tmp_path / "config", f"[profile role]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-west-3\n")
        said = {
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_PROFILE": "role",
            "AWS_CONFIG_FILE": str(tmp_path / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
            "AWS_ENDPOINT_URL_STS": endpoints.url,
        }
        log = tmp_path / "debug.log"
        options = ("--log-level", "debug", "--log-file", str(log))
        with mounted(f"s3://127.0.0.1:{server.port}/models/repository", tmp_path, *options, **said) as mount:
            assert (mount.path / "m/1/x").read_bytes() == b"content"
            check_machine(mount)
            check_words(mount, tmp_path)
        assert endpoints.asked == ["AssumeRole"]


# -- rotation in the middle of a read


@pytest.mark.parametrize("by", ["triton's file", "a profile"])
def test_keys_that_rotate_in_mid_read_do_not_disturb_it(tmp_path: Path, by: str) -> None:
    content = Stamped("x", "v1", 60_000_000)
    old, new = Keys("AKOLD", "old-secret"), Keys("AKNEW", "new-secret", "new-token")

    def give(keys: Keys) -> None:
        if by == "a profile":
            token = f"aws_session_token = {keys.session_token}\n" if keys.session_token else ""
            secret = f"aws_secret_access_key = {keys.secret_access_key}\n"
            write(tmp_path / "keys", f"[default]\naws_access_key_id = {keys.access_key_id}\n{secret}{token}")
            return
        entry = {"key_id": keys.access_key_id, "secret_key": keys.secret_access_key}
        write(tmp_path / "keys", json.dumps({"s3": {"": {**entry, "session_token": keys.session_token or ""}}}))

    variable = "AWS_SHARED_CREDENTIALS_FILE" if by == "a profile" else "TRITON_CLOUD_CREDENTIAL_PATH"
    given = {variable: str(tmp_path / "keys"), "AWS_CONFIG_FILE": str(tmp_path / "absent")}
    if by == "a profile":
        given |= {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    with FaultServer(keys=old) as server:
        server.put("models", "repository/m/1/x", content)
        give(old)
        url = f"s3://127.0.0.1:{server.port}/models/repository"
        with mounted(url, tmp_path, "--memory", "16M", "--refresh", "1", **given) as mount:
            server.fail(Fault(TotalRate(60e6), kind="get"))
            data = bytearray()
            with (mount.path / "m/1/x").open("rb", buffering=0) as file:
                while chunk := file.read(1 << 20):
                    data += chunk
                    if len(data) == 8 << 20:
                        server.let_in(new)
                        threading.Timer(2, give, [new]).start()  # the file follows a little later, as it does
            assert bytes(data) == content.read(0, content.size)
            assert [each for each in server.requests(kind="get") if each.status == 403]
            wait_until(lambda: mount.status()["state"] == "healthy")


# -- HTTPS with an authority of one's own


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, and a certificate of it for 127.0.0.1 with its key beside it. Return the folder."""
    folder = tmp_path_factory.mktemp("tls")
    make_authority(folder)
    return folder


@pytest.mark.parametrize("said", ["--ca-bundle", "AWS_CA_BUNDLE"])
def test_mount_over_https_with_a_private_authority(
    store: FaultServer, tmp_path: Path, certificate: Path, said: str
) -> None:
    content = Stamped("x", "v1", 20_000_000)
    store.put("models", "repository/m/1/x", content)
    with TlsFront(store.port, server_context(certificate)) as port:
        url = f"s3://https://127.0.0.1:{port}/models/repository"
        authority = str(certificate / "ca.pem")
        options = ("--ca-bundle", authority) if said == "--ca-bundle" else ()
        variables = {"AWS_CA_BUNDLE": authority} if said == "AWS_CA_BUNDLE" else {}
        with mounted(url, tmp_path, *options, **variables) as mount:
            assert (mount.path / "m/1/x").read_bytes() == content.read(0, content.size)
        done = Mount(tmp_path, environment(tmp_path / "run")).command("mount", url, str(tmp_path / "models"))
        assert done.returncode == 2
        assert "--ca-bundle" in done.stderr
