"""``modelfs seal``: what is whole is sealed in one write, and everything else is told and left alone."""

import hashlib
import json
from pathlib import Path

import pytest
from faultserver import Fault, FaultServer, Keys, Status
from stores.memory_store import MemoryStore

from modelfs import manifest, sealing
from modelfs.blocks import ObjectInfo
from modelfs.config import Config
from modelfs.errors import AccessRefusedError, ModelfsError, ObjectNotFoundError, UsageError
from modelfs.location import Location
from modelfs.sealing import Report
from modelfs.store import Store

URL = "s3://bucket/models/m"
SEAL = manifest.MANIFEST_NAME
SOUND = {"config.pbtxt": b'backend: "onnxruntime"', "1/model.onnx": b"one", "2/model.onnx": b"two", "2/data/x": b"x"}


class Bucket(MemoryStore):
    """A store that can be written to; ``written`` are the keys of that, in their order."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__()
        self.written: list[str] = []
        for key, data in files.items():
            self.put(key, data)

    def write_small(self, key: str, data: bytes) -> None:
        self.written.append(key)
        self.put(key, data)

    def content(self, key: str) -> bytes:
        return self._objects[key].data

    def listed(self) -> dict[str, ObjectInfo]:
        return {info.key: info for info in self.list_page(None).objects}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Hold a sound model, at whatever location is opened."""
    store = Bucket(SOUND)

    async def open_it(location: Location, _config: Config) -> Store:
        assert location.prefix.endswith("models/m")
        return store

    monkeypatch.setattr(sealing, "open_configured", open_it)
    return store


def seal(url: str = URL, *, source: Path | None = None, verify: bool = False) -> Report:
    return sealing.seal(url, Config(), source=None if source is None else str(source), verify=verify, pause_s=0)


def found(report: Report) -> set[tuple[str, str]]:
    return {(each.rule, each.path) for each in report.findings}


def states(report: Report) -> dict[str, str]:
    return {outcome.version: outcome.state for outcome in report.outcomes}


def copy_of(files: dict[str, bytes], folder: Path) -> Path:
    for key, data in files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


def test_each_version_gets_a_manifest_of_its_files(bucket: Bucket) -> None:
    assert states(seal()) == {"m/1": "sealed", "m/2": "sealed"}
    assert bucket.written == [f"1/{SEAL}", f"2/{SEAL}"]
    told = json.loads(bucket.content(f"2/{SEAL}"))
    listed = bucket.listed()
    assert told["format"] == 1
    assert told["files"] == {
        "data/x": {"size": 1, "version": listed["2/data/x"].version},
        "model.onnx": {"size": 3, "version": listed["2/model.onnx"].version},
    }
    understood = manifest.parse(bucket.content(f"2/{SEAL}"))
    assert understood is not None
    assert manifest.is_sealed(understood, "2", listed)
    bucket.put("2/model.onnx", b"new")
    assert not manifest.is_sealed(understood, "2", bucket.listed())


def test_one_version_is_sealed_alone(bucket: Bucket) -> None:
    report = seal(f"{URL}/2")
    assert states(report) == {"m/2": "sealed"}
    assert (report.outcomes[0].files, report.outcomes[0].bytes) == (2, 4)
    assert bucket.written == [f"2/{SEAL}"]


def test_second_seal_writes_nothing_until_something_changes(bucket: Bucket) -> None:
    seal()
    assert states(seal()) == {"m/1": "was sealed", "m/2": "was sealed"}
    assert len(bucket.written) == 2
    bucket.put("1/model.onnx", b"newer")
    assert states(seal()) == {"m/1": "sealed", "m/2": "was sealed"}
    bucket.put(f"1/{SEAL}", b"{")
    assert states(seal(f"{URL}/1")) == {"m/1": "sealed"}


def test_version_whose_manifest_no_mount_would_read_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    seal(f"{URL}/2")
    most = len(bucket.content(f"2/{SEAL}"))
    monkeypatch.setattr(sealing, "TEXT_BYTES_MAX", most)
    bucket.put(f"2/{SEAL}", bucket.content(f"2/{SEAL}") + b" ")
    assert states(seal(f"{URL}/2")) == {"m/2": "sealed"}
    bucket.put("2/more", b"x")
    report = seal(f"{URL}/2")
    assert (states(report), found(report)) == ({"m/2": "refused"}, {("manifest", "m/2")})
    assert bucket.written == [f"2/{SEAL}"] * 2


def test_version_that_is_not_whole_is_refused_and_the_others_are_sealed(bucket: Bucket) -> None:
    bucket.put("3/weights", b"w")
    bucket.put("10/model.onnx", b"")
    report = seal()
    assert states(report) == {"m/1": "sealed", "m/2": "sealed", "m/3": "refused", "m/10": "refused"}
    assert found(report) == {("model-file", "m/3/model.onnx"), ("zero", "m/10/model.onnx")}
    assert bucket.written == [f"1/{SEAL}", f"2/{SEAL}"]


def test_upload_that_has_not_ended_is_told_and_refuses_nothing(bucket: Bucket) -> None:
    for key in ("1/weights", "2/weights", "labels", "2/model.onnx"):
        bucket.begin_upload(key)
    bucket.put("2/model.onnx", b"two", mtime_ns=2**62)  # begun again since, and ended
    report = seal(f"{URL}/2")
    assert (states(report), found(report)) == ({"m/2": "sealed"}, {("upload", "m/2/weights"), ("upload", "m/labels")})
    assert {each.severity for each in report.findings} == {"warning"}
    assert report.findings[0].what.startswith("the upload of 2/weights that began at ")


def test_store_that_tells_of_no_uploads_is_sealed_in(bucket: Bucket) -> None:
    def refuse(kind: str, _info: ObjectInfo | None) -> None:
        if kind == "uploads":
            raise AccessRefusedError("s3:ListBucketMultipartUploads")

    bucket.fail = refuse
    report = seal(f"{URL}/2")
    assert (states(report), found(report)) == ({"m/2": "sealed"}, set())


def test_what_is_wrong_with_the_model_itself_refuses_every_version(bucket: Bucket) -> None:
    bucket.put("config.pbtxt", b"input {")
    report = seal(f"{URL}/1")
    assert (states(report), found(report)) == ({"m/1": "refused"}, {("config", "m/config.pbtxt")})
    assert bucket.written == []


def test_what_is_no_matter_of_a_version_does_not_refuse_it(bucket: Bucket) -> None:
    for key in ("3.bak/x", "config", "1/MODEL.onnx", "1//x"):
        bucket.put(key, b"x")
    assert states(seal(f"{URL}/1")) == {"m/1": "sealed"}


def test_file_that_changes_between_the_two_listings_refuses_its_version(bucket: Bucket) -> None:
    def change(kind: str, _info: ObjectInfo | None) -> None:
        if kind == "list" and bucket.listings == 2:
            bucket.fail = None
            bucket.put("1/model.onnx", b"another")
            bucket.put("1/new", b"n")

    bucket.fail = change
    report = seal()
    assert states(report) == {"m/1": "refused", "m/2": "sealed"}
    assert found(report) == {("changed", "m/1/model.onnx"), ("changed", "m/1/new")}


def test_configuration_that_changes_between_the_two_listings_refuses_every_version(bucket: Bucket) -> None:
    def change(kind: str, _info: ObjectInfo | None) -> None:
        if kind == "list" and bucket.listings == 2:
            bucket.fail = None
            bucket.put("config.pbtxt", b'backend: "python"')

    bucket.fail = change
    report = seal()
    assert set(states(report).values()) == {"refused"}
    assert found(report) == {("changed", "m/config.pbtxt")}
    assert bucket.written == []


def test_version_of_an_ensemble_is_sealed_without_files(bucket: Bucket) -> None:
    for key in SOUND:
        bucket.delete(key)
    bucket.put("config.pbtxt", b'platform: "ensemble"')
    bucket.put("1/", b"")
    assert states(seal()) == {"m/1": "sealed"}
    assert states(seal()) == {"m/1": "was sealed"}
    bucket.put(f"1/{SEAL}", b"{")
    assert states(seal()) == {"m/1": "sealed"}


def test_folder_that_was_uploaded_is_compared_by_name_and_size(bucket: Bucket, tmp_path: Path) -> None:
    source = copy_of(SOUND, tmp_path)
    assert states(seal(source=source)) == {"m/1": "sealed", "m/2": "sealed"}
    (source / "2/data/x").write_bytes(b"longer")
    (source / "2/more").write_bytes(b"m")
    bucket.put("2/stale", b"s")
    report = seal(source=source)
    assert states(report) == {"m/1": "was sealed", "m/2": "refused"}
    assert found(report) == {("differs", f"m/2/{name}") for name in ("data/x", "more", "stale")}
    assert states(seal(f"{URL}/1", source=source / "1")) == {"m/1": "was sealed"}


@pytest.mark.usefixtures("bucket")
def test_etag_that_is_the_md5_tells_other_bytes_of_the_same_size(tmp_path: Path) -> None:
    source = copy_of({**SOUND, "1/model.onnx": b"eno"}, tmp_path)
    report = seal(source=source)
    assert (states(report), found(report)) == (
        {"m/1": "refused", "m/2": "sealed"},
        {("differs", "m/1/model.onnx")},
    )


def test_etag_that_is_no_md5_accuses_nobody(bucket: Bucket, tmp_path: Path) -> None:
    version = hashlib.md5(b"of an encrypted object", usedforsecurity=False).hexdigest()
    for key, each in list(bucket._objects.items()):
        bucket._objects[key] = each._replace(info=each.info._replace(version=f'"{version}"'))
    assert states(seal(source=copy_of(SOUND, tmp_path))) == {"m/1": "sealed", "m/2": "sealed"}


def test_verify_reads_what_no_checksum_proves(bucket: Bucket, tmp_path: Path) -> None:
    bucket._objects["1/model.onnx"] = bucket._objects["1/model.onnx"]._replace(
        info=ObjectInfo("1/model.onnx", 3, '"0123-2"', 0)  # of an upload in parts
    )
    source = copy_of(SOUND, tmp_path)
    assert states(seal(f"{URL}/1", source=source / "1", verify=True)) == {"m/1": "sealed"}
    assert ("1/model.onnx", 0, 3) in bucket.reads
    (source / "1/model.onnx").write_bytes(b"eno")
    assert states(seal(f"{URL}/1", source=source / "1")) == {"m/1": "was sealed"}  # nothing told it
    report = seal(f"{URL}/1", source=source / "1", verify=True)
    assert (states(report), found(report)) == ({"m/1": "refused"}, {("differs", "m/1/model.onnx")})


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        (f"{URL}/7", ObjectNotFoundError, "there is no version 7 at s3://bucket/models/m"),
        *((f"{URL}/{name}", UsageError, f"'{name}' is no version") for name in ("0", "01", "9" * 19)),
        ("s3://bucket", UsageError, "names no model"),
        ("/", UsageError, "names no model"),
        ("https://host/models/m", UsageError, "https:// is only read"),
    ],
)
def test_what_cannot_be_sealed_is_said(url: str, error: type[ModelfsError], says: str) -> None:
    with pytest.raises(error, match=says):
        seal(url)


@pytest.mark.usefixtures("bucket")
def test_verify_without_a_folder_and_a_folder_that_is_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Add --from DIR"):
        seal(verify=True)
    with pytest.raises(ObjectNotFoundError, match="no-such"):
        seal(source=tmp_path / "no-such")


@pytest.mark.parametrize("key", ["0/model.onnx", "3.bak/model.onnx", "model.onnx"])
def test_model_without_a_version_that_can_be_sealed_is_said(bucket: Bucket, key: str) -> None:
    for each in SOUND:
        if each != "config.pbtxt":
            bucket.delete(each)
    bucket.put(key, b"x")
    bucket.begin_upload("labels")
    report = seal()
    assert (states(report), found(report)) == ({}, {("versions", "m"), ("upload", "m/labels")})


def test_model_that_is_not_there_is_said(bucket: Bucket) -> None:
    for key in SOUND:
        bucket.delete(key)
    with pytest.raises(ObjectNotFoundError, match="there is no model"):
        seal()


def test_last_folder_that_is_a_number_is_the_version() -> None:
    assert sealing.target_of("as://account/container/m/2").version == "2"
    assert sealing.target_of("s3://b/2024").model == "2024"
    assert sealing.target_of("/srv/models/m/3").location.prefix == "/srv/models/m"


def test_store_that_refuses_the_write_keeps_no_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys("key", "secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
    with FaultServer(keys=keys) as server:
        server.create_bucket("bkt")
        for key, data in SOUND.items():
            server.put("bkt", f"models/m/{key}", data)
        refusing = server.fail(Fault(Status(403), kind="put"))
        with pytest.raises(AccessRefusedError, match="s3:PutObject"):
            seal(f"s3://{server.url}/bkt/models/m/1")
        server.heal(refusing)
        server.fail(Fault(Status(503), kind="put", times=1))
        server.clear_log()
        assert states(seal(f"s3://{server.url}/bkt/models/m/1")) == {"m/1": "sealed"}
        assert {record.key for record in server.requests(kind="put")} == {f"models/m/1/{SEAL}"}
        assert server.requests(kind="delete") == []
        assert len(server.requests(kind="list")) == 2
