"""The fault server: a loopback object store that tests fill, watch and break while a client uses it.

Law: it lives in the test's process, one thread for each connection, and stops without leaving one. In-process because
a fault is then a plain call that acts at once; sendfile releases the GIL, so the bodies do not compete with the test.

Therefore a test must never touch memory that is mapped from a mount of this very server: a page fault holds the GIL,
and the server could not answer it. Read and pread are harmless, they release it; map in a child process.
"""

import errno
import socket
import threading
import time
from types import TracebackType
from typing import Literal, Self

from faultserver.api import Api
from faultserver.auth import Bearer, Keys
from faultserver.connection import Connection, Site
from faultserver.dialects import S3, Azure, Dialect, Gcs
from faultserver.faults import Fault
from faultserver.log import Kind, Record
from faultserver.objects import Body, Objects, StoredObject
from faultserver.uploads import Uploads

_HOST = "127.0.0.1"
DialectName = Literal["s3", "gcs", "azure", "azure, hierarchical"]
_DIALECTS: dict[DialectName, Dialect] = {
    "s3": S3(),
    "gcs": Gcs(),
    "azure": Azure(is_hierarchical=False),
    "azure, hierarchical": Azure(is_hierarchical=True),
}
_STOP_S = 10.0  # a connection's thread ends within microseconds of its hang-up; this only bounds a defect


class FaultServer:
    """An object store on loopback. ``unsorted`` gives the keys of a listing in an order of its own.

    Usage::

        with FaultServer() as server:
            found = server.put("bucket", "a/b", b"content")
            server.fail(Fault(Status(503), kind="get", times=2))
            ...  # let a client of server.url read
            assert len(server.requests(kind="get")) == 3
    """

    def __init__(
        self, dialect: DialectName = "s3", *, keys: Keys | Bearer | None = None, unsorted: bool = False, port: int = 0
    ) -> None:
        self._objects = Objects()
        self._uploads = Uploads()
        self._site = Site(Api(self._objects, self._uploads, _DIALECTS[dialect], unsorted=unsorted), keys)
        self._wanted_port = port
        self._lock = threading.Lock()
        self._threads: dict[Connection, threading.Thread] = {}
        self._reserved: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._filler: socket.socket | None = None

    # -- life

    def start(self) -> None:
        """Take a port and serve."""
        # A socket that is bound and never listens keeps the port ours while the server is down, and refuses meanwhile.
        self._reserved = _bound(self._wanted_port)
        self.up()

    def stop(self) -> None:
        """End every connection and thread, and give the port back."""
        self.down()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port, the same for the server's whole life."""
        if self._reserved is None:
            raise RuntimeError("the fault server is not started")
        port: int = self._reserved.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The endpoint, without a slash at the end."""
        return f"http://{_HOST}:{self.port}"

    # -- content

    def create_bucket(self, bucket: str) -> None:
        """Make an empty bucket."""
        self._objects.create_bucket(bucket)

    def delete_bucket(self, bucket: str) -> None:
        """Remove a bucket with all that it holds."""
        self._objects.delete_bucket(bucket)

    def put(
        self, bucket: str, key: str, body: Body, *, mtime_ns: int | None = None, etag: str | None = None
    ) -> StoredObject:
        """Store a new version and return it. Makes the bucket; dated now and with a fresh ETag unless told.

        A ``Path`` is sent from where it lies and must not change; ``Stamped`` is made as it is sent.
        """
        self._objects.create_bucket(bucket)
        return self._objects.put(bucket, key, body, mtime_ns=mtime_ns, etag=etag)

    def touch(self, bucket: str, key: str, *, mtime_ns: int) -> StoredObject:
        """Date an object anew, with the same ETag and content."""
        return self._objects.touch(bucket, key, mtime_ns=mtime_ns)

    def delete(self, bucket: str, key: str) -> None:
        """Remove a key, if it is there."""
        self._objects.delete(bucket, key)

    def begin_upload(self, bucket: str, key: str, *, begun_ns: int | None = None) -> str:
        """Begin an upload in parts, now unless told, and return its id. Makes the bucket."""
        self._objects.create_bucket(bucket)
        return self._uploads.begin(bucket, key, begun_ns=begun_ns)

    def end_upload(self, bucket: str, key: str, upload: str, body: bytes | None) -> None:
        """Complete an upload in parts with ``body``, dated from its begin as S3 does, or abort it with None."""
        ended = self._uploads.finish(upload)
        if body is not None:
            self._objects.put(bucket, key, body, mtime_ns=ended.begun_ns, etag=None)

    def get(self, bucket: str, key: str) -> StoredObject | None:
        """Return what a client would be served now, or None."""
        return self._objects.get(bucket, key)

    def objects(self, bucket: str) -> list[StoredObject]:
        """Return all that the bucket holds, sorted by key."""
        return list(self._objects.listing(bucket))

    def let_in(self, keys: Keys | Bearer | None) -> None:
        """Let only ``keys`` in from now on; None is everybody."""
        self._site.keys = keys

    # -- log

    def requests(self, *, kind: Kind | None = None, key: str | None = None) -> list[Record]:
        """Return the requests since the last clear, in order of arrival."""
        return [
            each
            for each in self._site.log.records()
            if (kind is None or each.kind == kind) and (key is None or each.key == key)
        ]

    def clear_log(self) -> None:
        """Forget the requests so far."""
        self._site.log.clear()

    def wait_until_idle(self, timeout_s: float = 10.0) -> bool:
        """Wait until no request is in flight; then status and bytes of all records are final."""
        return self._site.log.wait_until_idle(timeout_s)

    # -- faults

    def fail(self, fault: Fault) -> Fault:
        """Put a fault in force, until it is healed or has acted as often as it may; return it, for its counts."""
        self._site.faults.add(fault)
        return fault

    def heal(self, fault: Fault | None = None) -> None:
        """Take one fault out of force, or all; what waited for it goes on."""
        self._site.faults.heal(fault)
        self._site.wake()

    def down(self) -> None:
        """Be away: connections end, new ones are refused."""
        self._close_listener()
        with self._lock:
            threads, self._threads = self._threads, {}
        for connection in threads:
            connection.hang_up()
        self._site.swallowing = False
        self._site.wake()
        for thread in threads.values():
            _join(thread)

    def up(self) -> None:
        """Be there again, on the same port, after ``down`` or ``black_hole``."""
        with self._lock:
            listening = self._listener is not None and self._filler is None
        if not listening:
            self.down()
            self._listen()
        self._site.swallowing = False
        self._site.wake()

    def black_hole(self, *, connects: bool = True) -> None:
        """Answer nothing more: new connections are taken but never read, or (``connects=False``) never come about.

        The second is an address whose packets are dropped on the way: connecting runs into its time-out.
        """
        self._site.swallowing = True
        if not connects:
            self._close_listener()
            # a listener whose queue is full makes the kernel drop further SYNs; a backlog of 0 takes one connection
            self._listener = _bound(self.port)
            self._listener.listen(0)
            self._filler = socket.create_connection((_HOST, self.port), timeout=_STOP_S)

    # -- inside

    def _listen(self) -> None:
        listener = _bound(self.port)
        listener.listen(1024)
        acceptor = threading.Thread(
            target=self._accept, args=(listener,), name=f"faultserver-{self.port}-accept", daemon=True
        )
        with self._lock:
            self._listener, self._acceptor = listener, acceptor
        acceptor.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ECONNABORTED}:
                    time.sleep(0.01)  # the test's process is out of descriptors for a moment
                    continue
                return
            connection = Connection(sock, self._site)
            thread = threading.Thread(target=connection.serve, name=f"faultserver-{self.port}-connection", daemon=True)
            with self._lock:
                if self._listener is not listener:
                    sock.close()
                    return
                # an ended thread is kept until here or ``down``, so that ``down`` can join every one
                self._threads = {each: its for each, its in self._threads.items() if its.is_alive()}
                self._threads[connection] = thread
                thread.start()

    def _close_listener(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
            acceptor, self._acceptor = self._acceptor, None
            filler, self._filler = self._filler, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        if acceptor is not None:
            _join(acceptor)
        for each in [listener, filler]:
            if each is not None:
                each.close()


def _join(thread: threading.Thread) -> None:
    thread.join(_STOP_S)
    if thread.is_alive():
        raise RuntimeError(f"the fault server's thread {thread.name} does not end")


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((_HOST, port))
    return sock
