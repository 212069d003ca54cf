"""A forward proxy, as stands between many a cluster and the world: plain requests and CONNECT."""

import select
import socket
import threading
from typing import Self


class Proxy:
    """A proxy on loopback that leads every host to one port, and notes what it was asked for."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:pass%40word@127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
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
        with client, socket.create_connection(("127.0.0.1", self._port), timeout=10) as store:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            self.asked.append(head.decode("latin-1"))
            if head.startswith(b"CONNECT"):
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:  # "GET http://host/path" becomes "GET /path", and the connection is for this one request
                line, _, rest = head.partition(b"\r\n")
                method, target, version = line.split()
                path = b"/" + target.split(b"/", 3)[3]
                store.sendall(b" ".join((method, path, version)) + b"\r\nConnection: close\r\n" + rest)
            ends = {client: store, store: client}
            while True:
                for ready in select.select(list(ends), [], [], 10)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    ends[ready].sendall(data)
