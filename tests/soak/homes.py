"""Every place a repository can be, and every way to be let in: a model in each, for one tritonserver on all mounts.

Law: a home puts its one model where its URL says, and tells what a mount needs. Slashes too many stand in most URLs.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from faultserver import Bearer, Fault, FaultServer, Keys, Status
from google_stub import GoogleStub, private_key, service_account
from stores.azurite import ACCOUNT, KEY, Azurite, azurite, container_sas
from tls_front import TlsFront, make_authority, server_context

from soak.witness import config, version

KEYS = Keys("home-key", "home-secret", "home-token")
NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
IN_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEYS.access_key_id,
    "AWS_SECRET_ACCESS_KEY": KEYS.secret_access_key,
    "AWS_SESSION_TOKEN": KEYS.session_token or "",
}
DOTTED_BUCKET, DOTTED_PATH = "demo-bucket1.0", "Model_repo-1.0"


@dataclass(frozen=True, slots=True)
class Home:
    """Where a mount finds the model, and as whom."""

    url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


class Town:
    """The stores that homes are in, each started when the first home asks for it. ``scratch`` is for their files."""

    def __init__(self, scratch: Path, stack: ExitStack) -> None:
        self.scratch = scratch
        self._stack = stack
        self._azurite: Azurite | None = None

    def s3(self, keys: Keys | None, bucket: str, prefix: str, model: str) -> FaultServer:
        """Return an S3 store with the model."""
        server = self._stack.enter_context(FaultServer(keys=keys))
        for path, data in _files(model):
            server.put(bucket, f"{prefix}{path}", data, mtime_ns=0)
        return server

    def over_tls(self, server: FaultServer) -> tuple[int, Path]:
        """Return the port of TLS before a store, and the file with the authority that signed for it."""
        folder = self.scratch / "tls"
        folder.mkdir(exist_ok=True)
        if not (folder / "ca.pem").exists():
            make_authority(folder)
        return self._stack.enter_context(TlsFront(server.port, server_context(folder))), folder / "ca.pem"

    def gcs(self, tokens: Bearer | None, model: str) -> FaultServer:
        """Return a store of Google's with the model in models/repository."""
        server = self._stack.enter_context(FaultServer("gcs", keys=tokens))
        for path, data in _files(model):
            server.put("models", f"repository/{path}", data, mtime_ns=0)
        return server

    def google(self) -> GoogleStub:
        """Return who hands out Google's tokens: token-1, token-2 and so on."""
        return self._stack.enter_context(GoogleStub())

    def azure(self, container: str, prefix: str, model: str) -> Azurite:
        """Return Azurite, with the model in a container of its own."""
        if self._azurite is None:
            folder = self.scratch / "azurite"
            folder.mkdir()
            self._azurite = self._stack.enter_context(azurite(folder))
        self._azurite.create_container(container)
        for path, data in _files(model):
            self._azurite.put(container, f"{prefix}{path}", data)
        return self._azurite

    def write(self, name: str, text: str) -> str:
        """Return the path of a file that only its owner can read."""
        path = self.scratch / name
        path.touch(mode=0o600)
        path.write_text(text)
        return str(path)


def _files(model: str) -> Iterator[tuple[str, bytes]]:
    yield from {f"{model}/config.pbtxt": config(), **version(f"{model}/1", 1)}.items()


def _s3_environment(town: Town, model: str) -> Home:
    server = town.s3(KEYS, "models", "repository/", model)
    return Home(f"s3://127.0.0.1:{server.port}//models///repository//", IN_ENVIRONMENT)


def _s3_profile(town: Town, model: str) -> Home:
    server = town.s3(KEYS, "models", "repository/deep/", model)
    lines = ["[team]", f"aws_access_key_id = {KEYS.access_key_id}", f"aws_secret_access_key = {KEYS.secret_access_key}"]
    text = "\n".join([*lines, f"aws_session_token = {KEYS.session_token}", ""])
    environment = {**NO_KEYS, "AWS_PROFILE": "team", "AWS_SHARED_CREDENTIALS_FILE": town.write("profile", text)}
    return Home(f"s3://http://127.0.0.1:{server.port}/models//repository///deep/", environment)


def _s3_triton_file(town: Town, model: str) -> Home:
    server = town.s3(KEYS, "models", "repository/", model)
    url = f"s3://127.0.0.1:{server.port}/models/repository"
    entry = {"key_id": KEYS.access_key_id, "secret_key": KEYS.secret_access_key, "session_token": KEYS.session_token}
    told = {"s3": {"": {"key_id": "another"}, url.rpartition("/")[0]: entry}}
    return Home(f"{url}//", {"TRITON_CLOUD_CREDENTIAL_PATH": town.write("triton-s3.json", json.dumps(told))})


def _s3_nobody(town: Town, model: str) -> Home:
    server = town.s3(None, "models", "repository/", model)
    return Home(f"s3://127.0.0.1:{server.port}/models//repository/", NO_KEYS, ("--no-sign-request",))


def _s3_root(town: Town, model: str) -> Home:
    server = town.s3(KEYS, DOTTED_BUCKET, "", model)
    return Home(f"s3://localhost:{server.port}/{DOTTED_BUCKET}//", IN_ENVIRONMENT)


def _s3_dotted(town: Town, model: str) -> Home:
    server = town.s3(KEYS, DOTTED_BUCKET, f"{DOTTED_PATH}/", model)
    return Home(f"s3://127.0.0.1:{server.port}/{DOTTED_BUCKET}/{DOTTED_PATH}", IN_ENVIRONMENT)


def _s3_tls_name(town: Town, model: str) -> Home:
    port, authority = town.over_tls(town.s3(KEYS, "models", "repository/", model))
    return Home(f"s3://https://localhost:{port}/models/repository/", IN_ENVIRONMENT, ("--ca-bundle", str(authority)))


def _s3_tls_ip(town: Town, model: str) -> Home:
    port, authority = town.over_tls(town.s3(KEYS, "models", "repository/", model))
    environment = {**IN_ENVIRONMENT, "AWS_CA_BUNDLE": str(authority)}
    return Home(f"s3://https://127.0.0.1:{port}/models//repository", environment)


def _gcs_service_account(town: Town, model: str) -> Home:
    server = town.gcs(Bearer("token-1"), model)
    path = town.write("account.json", json.dumps(service_account(town.google(), private_key())))
    environment = {"GOOGLE_APPLICATION_CREDENTIALS": path}
    return Home("gs://models//repository//", environment, ("--endpoint-url", server.url))


def _gcs_triton_file(town: Town, model: str) -> Home:
    server = town.gcs(Bearer("token-1"), model)
    path = town.write("two.json", json.dumps(service_account(town.google(), private_key())))
    told = town.write("triton-gs.json", json.dumps({"gs": {"": "absent.json", "gs://models": path}}))
    return Home("gs://models/repository", {"TRITON_CLOUD_CREDENTIAL_PATH": told}, ("--endpoint-url", server.url))


def _gcs_metadata(town: Town, model: str) -> Home:
    server = town.gcs(Bearer("token-1"), model)
    environment = {"GCE_METADATA_HOST": town.google().host}
    return Home("gs://models///repository", environment, ("--endpoint-url", server.url))


def _gcs_emulator(town: Town, model: str) -> Home:
    return Home("gs://models/repository/", {"STORAGE_EMULATOR_HOST": town.gcs(None, model).url})


def _azure_key(town: Town, model: str) -> Home:
    server = town.azure("key", "", model)
    return Home(f"as://{server.place}/key//", {"AZURE_STORAGE_KEY": KEY})


def _azure_sas(town: Town, model: str) -> Home:
    server = town.azure("sas", "repository/", model)
    return Home(f"as://{server.place}//sas//repository/?{container_sas('sas')}")


def _azure_sas_file(town: Town, model: str) -> Home:
    server = town.azure("sas-file", "repository/", model)
    path = town.write("sas", container_sas("sas-file"))
    return Home(f"as://{server.place}/sas-file/repository//", {}, ("--sas-file", path))


def _azure_connection_string(town: Town, model: str) -> Home:
    server = town.azure("connection", "repository/", model)
    return Home(f"as://{ACCOUNT}/connection//repository", {"AZURE_STORAGE_CONNECTION_STRING": server.connection_string})


def _azure_triton_file(town: Town, model: str) -> Home:
    server = town.azure("triton", "repository/", model)
    url = f"as://{server.place}/triton/repository"
    told = {"as": {url: {"account_str": ACCOUNT, "account_key": KEY}}}
    return Home(url, {"TRITON_CLOUD_CREDENTIAL_PATH": town.write("triton-as.json", json.dumps(told))})


def _folder(town: Town, model: str) -> Home:
    folder = town.scratch / "folder" / DOTTED_PATH
    for path, data in _files(model):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return Home(f"{folder.parent}//{DOTTED_PATH}/")


HOMES: dict[str, Callable[[Town, str], Home]] = {
    "S3, keys and token in the environment": _s3_environment,
    "S3, profile": _s3_profile,
    "S3, Triton's file": _s3_triton_file,
    "S3, nobody": _s3_nobody,
    "S3, by name, root of a bucket with a dot": _s3_root,
    "S3, by address, path with a dot": _s3_dotted,
    "S3, HTTPS by name, private authority": _s3_tls_name,
    "S3, HTTPS by address, private authority": _s3_tls_ip,
    "GCS, service account": _gcs_service_account,
    "GCS, Triton's file": _gcs_triton_file,
    "GCS, metadata server": _gcs_metadata,
    "GCS, emulator": _gcs_emulator,
    "Azure, key, root of a container": _azure_key,
    "Azure, SAS": _azure_sas,
    "Azure, SAS in a file": _azure_sas_file,
    "Azure, connection string": _azure_connection_string,
    "Azure, Triton's file": _azure_triton_file,
    "folder": _folder,
}


def _wrong_secret(town: Town) -> Home:
    home = _s3_environment(town, "m")
    return replace(home, environment={**IN_ENVIRONMENT, "AWS_SECRET_ACCESS_KEY": "wrong"})


def _no_token(town: Town) -> Home:
    home = _s3_environment(town, "m")
    return replace(home, environment={**IN_ENVIRONMENT, "AWS_SESSION_TOKEN": ""})


def _nobody_where_keys_are_asked(town: Town) -> Home:
    return replace(_s3_environment(town, "m"), environment=NO_KEYS, options=("--no-sign-request",))


def _may_not_list(town: Town) -> Home:
    server = town.s3(KEYS, "models", "repository/", "m")
    server.fail(Fault(Status(403, "AccessDenied"), kind="list"))
    return Home(f"s3://127.0.0.1:{server.port}/models/repository", IN_ENVIRONMENT)


def _unknown_token(town: Town) -> Home:
    server = town.gcs(Bearer("another"), "m")
    environment = {"GCE_METADATA_HOST": town.google().host}
    return Home("gs://models/repository", environment, ("--endpoint-url", server.url))


def _wrong_azure_key(town: Town) -> Home:
    return replace(_azure_key(town, "m"), environment={"AZURE_STORAGE_KEY": "d3Jvbmc="})


def _ended_sas(town: Town) -> Home:
    server = town.azure("ended", "repository/", "m")
    return Home(f"as://{server.place}/ended/repository?{container_sas('ended', ends='2020-01-01T00:00:00Z')}")


def _unknown_authority(town: Town) -> Home:
    port, _ = town.over_tls(town.s3(KEYS, "models", "repository/", "m"))
    return Home(f"s3://https://127.0.0.1:{port}/models/repository", IN_ENVIRONMENT)


CLOSED: dict[str, Callable[[Town], Home]] = {
    "S3, wrong secret": _wrong_secret,
    "S3, session token missing": _no_token,
    "S3, nobody where keys are asked for": _nobody_where_keys_are_asked,
    "S3, may not list": _may_not_list,
    "S3, HTTPS of an unknown authority": _unknown_authority,
    "GCS, unknown token": _unknown_token,
    "Azure, wrong key": _wrong_azure_key,
    "Azure, SAS that has ended": _ended_sas,
}
"""Homes that let nobody in."""


@contextmanager
def town(scratch: Path) -> Iterator[Town]:
    """Return an empty town, whose stores end with it."""
    scratch.mkdir()
    with ExitStack() as stack:
        yield Town(scratch, stack)
