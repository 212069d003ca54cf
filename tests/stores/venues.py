"""Places where the contract suite puts objects: each a fake or a real store, with the Store that reads it.

Law: a venue only writes; what is tested is the Store alone. Keys given to a venue are relative to the prefix "repo",
beside which every venue also holds what must not be seen: "repo-2/x" and "other".
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import boto3
from faultserver import FaultServer, Keys
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from stores.memory_store import MemoryStore

from modelfs.engines import Engine, open_store
from modelfs.location import parse
from modelfs.store import Store

KEYS = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token/+=")
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEYS.access_key_id,
    "AWS_SECRET_ACCESS_KEY": KEYS.secret_access_key,
    "AWS_SESSION_TOKEN": KEYS.session_token or "",
}


engine_of_now: ContextVar[Engine] = ContextVar("engine_of_now", default="obstore")
"""Who fetches the bytes of the stores that a test opens: set by the fixture ``each_engine``, and for a venue."""


class Venue(Protocol):
    """What the contract suite needs of a place."""

    @property
    def store(self) -> Store:
        """Return the Store for the prefix "repo"."""

    def put(self, key: str, data: bytes) -> None:
        """Store an object, over what was there."""

    def delete(self, key: str) -> None:
        """Remove an object."""


@runtime_checkable
class Uploading(Protocol):
    """A venue where uploads in parts can be begun."""

    def begin_upload(self, key: str) -> Callable[[bytes | None], None]:
        """Begin an upload, and return what ends it: with content as an object, with None without."""


class Place(Venue, Protocol):
    """A venue that is somewhere: it has prefixes, and there are places that are not there."""

    def at(self, prefix: str) -> Store:
        """Return a Store for another prefix than "repo"; "" is all."""

    def nowhere(self) -> Store:
        """Return a Store for a bucket or folder that does not exist."""


def open_url(url: str, *, environment: Mapping[str, str] = ENVIRONMENT, stall_timeout_s: float = 10) -> Store:
    """Open a store as the worker does, with the engine of now."""
    return open_store(
        parse(url),
        engine=engine_of_now.get(),
        region=None,
        connect_timeout_s=1,
        stall_timeout_s=stall_timeout_s,
        max_connections=8,
        environment=environment,
    )


class MemoryVenue:
    """The fake, which knows no prefixes."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, data)

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def begin_upload(self, key: str) -> Callable[[bytes | None], None]:
        return partial(self.store.end_upload, self.store.begin_upload(key))


class LocalVenue:
    """A folder. Files come by rename, as uploads do."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.store = self.at("repo")
        (root / "repo").mkdir()
        for key in ("../repo-2/x", "../other"):
            self.put(key, b"beside")

    def put(self, key: str, data: bytes) -> None:
        path = self._root / "repo" / key
        if key.endswith("/"):
            path.mkdir(parents=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        new = self._root / "new"
        new.write_bytes(data)
        new.rename(path)

    def delete(self, key: str) -> None:
        (self._root / "repo" / key).unlink()

    def at(self, prefix: str) -> Store:
        return open_url(str(self._root / prefix))

    def nowhere(self) -> Store:
        return open_url(str(self._root / "no-such-folder"))


class FaultVenue:
    """The fault server, which checks signatures."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.store = self.at("repo")
        server.create_bucket("bkt")
        for key in ("repo-2/x", "other"):
            server.put("bkt", key, b"beside")

    def put(self, key: str, data: bytes) -> None:
        self.server.put("bkt", f"repo/{key}", data)

    def delete(self, key: str) -> None:
        self.server.delete("bkt", f"repo/{key}")

    def begin_upload(self, key: str) -> Callable[[bytes | None], None]:
        key = f"repo/{key}"
        return partial(self.server.end_upload, "bkt", key, self.server.begin_upload("bkt", key))

    def at(self, prefix: str) -> Store:
        return open_url(f"s3://{self.server.url}/bkt/{prefix}")

    def nowhere(self) -> Store:
        return open_url(f"s3://{self.server.url}/no-such-bucket/repo")


class MotoVenue:
    """moto's S3 server: a second opinion on the protocol. Written to from inside, at a hundredth of the time."""

    def __init__(self, url: str, bucket: str) -> None:
        self._url = url
        self._bucket = bucket
        self._backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self._backend.create_bucket(bucket, "us-east-1")
        for key in ("repo-2/x", "other"):
            self._backend.put_object(bucket, key, b"beside")
        self.store = self.at("repo")

    def put(self, key: str, data: bytes) -> None:
        self._backend.put_object(self._bucket, f"repo/{key}", data)

    def delete(self, key: str) -> None:
        self._backend.delete_object(self._bucket, f"repo/{key}")

    def begin_upload(self, key: str) -> Callable[[bytes | None], None]:
        client = boto3.client(
            "s3",
            endpoint_url=self._url,
            region_name="us-east-1",
            aws_access_key_id=KEYS.access_key_id,
            aws_secret_access_key=KEYS.secret_access_key,
        )
        where = {"Bucket": self._bucket, "Key": f"repo/{key}"}
        where["UploadId"] = client.create_multipart_upload(**where)["UploadId"]

        def end(data: bytes | None) -> None:
            if data is None:
                client.abort_multipart_upload(**where)
                return
            part = client.upload_part(**where, PartNumber=1, Body=data)
            parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
            client.complete_multipart_upload(**where, MultipartUpload=parts)

        return end

    def at(self, prefix: str) -> Store:
        return open_url(f"s3://{self._url}/{self._bucket}/{prefix}")

    def nowhere(self) -> Store:
        return open_url(f"s3://{self._url}/no-such-bucket/repo")


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """Run moto in this process, and yield its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()
