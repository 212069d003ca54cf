"""TLS before a store that speaks plain HTTP: what stands on the private network of many a user."""

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from types import TracebackType


def make_authority(folder: Path) -> None:
    """Put an authority, ca.pem, into ``folder``, and its certificate for loopback and store.test, store.pem."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", "-days", "2", "-subj", "/CN=our authority", *new_key, "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-subj", "/CN=store", *new_key, "-keyout", "store.key", "-out", "store.csr")
    (folder / "names").write_text(
        "subjectAltName = IP:127.0.0.1, DNS:localhost, DNS:store.test\nbasicConstraints = CA:FALSE\n"
    )
    signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "store.csr", *signer, "-days", "2", "-out", "store.pem")


def server_context(folder: Path) -> ssl.SSLContext:
    """Return what a server needs that shows the certificate which ``make_authority`` put into ``folder``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "store.pem", folder / "store.key")
    return context


class TlsFront:
    """Decrypts, and leads every connection to one port on loopback. Entering returns its own port."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),  # a client that does not trust us hangs up
            self._context.wrap_socket(client, server_side=True) as near,
            socket.create_connection(("127.0.0.1", self._port)) as far,
        ):
            back = threading.Thread(target=_pump, args=(far, near), daemon=True)
            back.start()
            _pump(near, far)
            back.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
