"""Credentials that end while a file is being read: the read goes on, and its bytes are the file's.

Each test reads a part, has the store refuse what it took until then, and reads the rest. modelfs may hold no more than
16 MiB, so most of the file is still to be fetched at that moment.
"""

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from entra_stub import Entra, entra
from faultserver import Bearer, FaultServer, Keys, Stamped
from google_stub import GoogleStub
from mount.mounting_for_tests import Mount, mounted, wait_until
from stores.azurite import KEY, azurite, container_sas
from token_endpoints import AGENT_TOKEN, ROLE, Endpoints, token_endpoints

CONTENT = Stamped("x", "v1", 60_000_000)
OPTIONS = ("--memory", "16M", "--refresh", "1")
PART = 8 << 20
EACH_ENGINE = pytest.mark.parametrize("engine", ["obstore", "fsspec"])
REFUSED_READ = "trying again what='read "


def read_across(mount: Mount, end: Callable[[], None]) -> None:
    """Read the file, and call ``end`` in the middle of it. Its bytes are compared."""
    data = bytearray()
    with (mount.path / "m/1/x").open("rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            data += chunk
            if len(data) == PART:
                end()
    assert bytes(data) == CONTENT.read(0, CONTENT.size)
    wait_until(lambda: mount.status()["state"] == "healthy")


def write(path: Path, text: str) -> None:
    """Replace a file at once, as those who rotate keys do."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)


def once(condition: Callable[[], object], act: Callable[[], None]) -> None:
    """Have ``act`` called when ``condition`` has come about, while the caller goes on."""

    def wait_and_act() -> None:
        wait_until(condition)
        act()

    threading.Thread(target=wait_and_act, daemon=True).start()


def refused_reads(server: FaultServer) -> list[int | None]:
    return [each.status for each in server.requests(kind="get") if each.status in {400, 401, 403}]


@pytest.fixture
def endpoints() -> Iterator[Endpoints]:
    with token_endpoints() as running:
        running.life_s = 60  # so short that botocore asks for new ones whenever it needs any
        yield running


def source_of(how: str, endpoints: Endpoints, folder: Path) -> dict[str, str]:
    """Return the variables that lead to a role's keys."""
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    files = {name: str(folder / name.lower()) for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    common = {**nothing, **files, "AWS_ENDPOINT_URL_STS": endpoints.url, "AWS_DEFAULT_REGION": "eu-west-3"}
    (folder / "token").write_text("pod-identity" if how == "web identity" else AGENT_TOKEN)
    if how == "web identity":
        return {**common, "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token"), "AWS_ROLE_ARN": ROLE}
    if how == "container's agent":
        agent = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{endpoints.url}/container"}
        return {**common, **agent, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(folder / "token")}
    base = "[base]\naws_access_key_id = AKBASE\naws_secret_access_key = base\n"
    role = f"[profile role]\nrole_arn = {ROLE}\nsource_profile = base\n"
    for name, text in (("AWS_SHARED_CREDENTIALS_FILE", base), ("AWS_CONFIG_FILE", role)):
        Path(files[name]).write_text(text)
        Path(files[name]).chmod(0o600)
    return {**common, "AWS_PROFILE": "role"}


# AWS answers 400 to an old token and 403 to an old key
@pytest.mark.parametrize(
    ("how", "new_id", "engine"),
    [
        ("assumed role", "ASIANEXT", "obstore"),
        ("web identity", "ASIAROLE", "fsspec"),
        ("container's agent", "ASIANEXT", "obstore"),
    ],
)
def test_keys_of_a_role_that_end_in_mid_read_are_had_anew(
    endpoints: Endpoints, tmp_path: Path, how: str, new_id: str, engine: str
) -> None:
    old = Keys(endpoints.key_id, endpoints.secret, endpoints.session_token)
    new = Keys(new_id, "next-secret", "next-token")

    def hand_out() -> None:
        endpoints.key_id, endpoints.secret, endpoints.session_token = new_id, "next-secret", "next-token"

    with FaultServer(keys=old) as server:
        server.put("models", "repository/m/1/x", CONTENT)

        def end() -> None:
            server.let_in(new)
            once(lambda: refused_reads(server), hand_out)

        url, variables = f"s3://127.0.0.1:{server.port}/models/repository", source_of(how, endpoints, tmp_path)
        with mounted(url, tmp_path, *OPTIONS, "--engine", engine, **variables) as mount:
            read_across(mount, end)
        assert refused_reads(server)


@EACH_ENGINE
def test_token_of_googles_metadata_server_that_ends_in_mid_read_is_renewed(tmp_path: Path, engine: str) -> None:
    accepted = Bearer(*(f"token-{number}" for number in range(100)))
    with GoogleStub() as stub, FaultServer("gcs", keys=accepted) as server:
        stub.lifetime_s = 6
        server.put("models", "repository/m/1/x", CONTENT)

        def end() -> None:
            before = stub.newest
            wait_until(lambda: stub.newest != before)  # a new one is used for half its life
            accepted.tokens = {f"token-{number}" for number in range(100)} - {stub.newest}

        options = (*OPTIONS, "--engine", engine, "--endpoint-url", server.url)
        with mounted("gs://models/repository", tmp_path, *options, GCE_METADATA_HOST=stub.host) as mount:
            read_across(mount, end)
        assert refused_reads(server)


@pytest.fixture
def metadata() -> Iterator[Entra]:
    with entra() as running:
        running.lasts_s = 6
        yield running


@EACH_ENGINE
def test_token_of_a_managed_identity_that_ends_in_mid_read_is_renewed(
    metadata: Entra, tmp_path: Path, engine: str
) -> None:
    accepted = Bearer(*(f"token-{number}" for number in range(100)))
    with FaultServer("azure", keys=accepted) as server:
        server.put("models", "repository/m/1/x", CONTENT)

        def end() -> None:
            before = len(metadata.asked)
            wait_until(lambda: len(metadata.asked) != before)  # a new one is used for half its life
            accepted.tokens = {f"token-{number}" for number in range(100)} - {f"token-{len(metadata.asked)}"}

        url = f"as://127.0.0.1:{server.port}/account/models/repository"
        variables = {
            "AZURE_STORAGE_AUTH_TYPE": "managed_identity",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": metadata.url,
        }
        with mounted(url, tmp_path, *OPTIONS, "--engine", engine, **variables) as mount:
            read_across(mount, end)
        assert refused_reads(server)


@EACH_ENGINE
def test_sas_that_ends_in_mid_read_is_taken_anew_from_its_file(tmp_path: Path, engine: str) -> None:
    file, log = tmp_path / "sas", tmp_path / "log"
    with azurite(tmp_path) as server:
        server.create_container("models")
        server.put("models", "repository/m/1/x", bytes(CONTENT.read(0, CONTENT.size)))

        def end() -> None:
            # the listing of each second is refused first, and tells that the token has ended
            wait_until(lambda: "the SAS expired" in log.read_text())
            once(lambda: REFUSED_READ in log.read_text(), lambda: write(file, container_sas("models")))

        options = (*OPTIONS, "--engine", engine, "--sas-file", str(file), "--log-file", str(log))
        for lasts_s in (8, 30, 80):  # longer, where it ended before the mount was read, on a machine that was too busy
            ends_s = time.time() + lasts_s
            write(file, container_sas("models", ends=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends_s))))
            with mounted(f"as://{server.place}/models/repository", tmp_path, *options) as mount:
                if is_early := time.time() < ends_s - 2:
                    read_across(mount, end)
            if is_early:
                break
        assert REFUSED_READ in log.read_text()
        assert "sig=" not in log.read_text()


def test_key_of_an_account_that_is_rotated_in_mid_read_is_taken_from_tritons_file(tmp_path: Path) -> None:
    file, new_key = tmp_path / "triton.json", base64.b64encode(b"another key").decode()

    def give(key: str) -> None:
        write(file, json.dumps({"as": {"": {"account_str": "devstoreaccount1", "account_key": key}}}))

    give(KEY)
    log = tmp_path / "log"
    with contextlib.ExitStack() as running:
        server = running.enter_context(azurite(tmp_path, keeps=True))
        server.create_container("models")
        server.put("models", "repository/m/1/x", bytes(CONTENT.read(0, CONTENT.size)))

        def end() -> None:
            running.close()
            running.enter_context(azurite(tmp_path, port=server.port, key=new_key, keeps=True))
            once(lambda: REFUSED_READ in log.read_text(), lambda: give(new_key))

        options = (*OPTIONS, "--engine", "fsspec", "--log-file", str(log))
        given = {"TRITON_CLOUD_CREDENTIAL_PATH": str(file)}
        with mounted(f"as://{server.place}/models/repository", tmp_path, *options, **given) as mount:
            read_across(mount, end)
        assert REFUSED_READ in log.read_text()
