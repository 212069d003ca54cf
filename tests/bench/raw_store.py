"""The raw store: what obstore reads without a file system, which is the most that a mount could reach.

Law: bytes come into memory and are dropped. One thread for each request: obstore's synchronous calls release the GIL.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import obstore
from obstore.store import S3Store

Work = Callable[[], dict[str, Any]]
_CONNECTIONS = 64


def read_all(url: str, key: str, size: int, *, at_once: int, range_bytes: int) -> Work:
    """Read the whole object in ranges, ``at_once`` at a time."""
    store = _open(url)

    def read(offset: int) -> int:
        return len(obstore.get_range(store, key, start=offset, end=min(offset + range_bytes, size)))

    def work() -> dict[str, Any]:
        with ThreadPoolExecutor(at_once) as pool:
            got = sum(pool.map(read, range(0, size, range_bytes)))
        if got != size:
            raise RuntimeError(f"the raw store gave {got} bytes of {size}")
        return {"bytes": got}

    return work


def read_some(url: str, key: str, offsets: Sequence[int], length: int) -> Work:
    """Read small ranges, one after another, on one warm connection."""
    store = _open(url)
    obstore.get_range(store, key, start=0, end=1)

    def work() -> dict[str, Any]:
        took = []
        for offset in offsets:
            began_s = time.monotonic()
            obstore.get_range(store, key, start=offset, end=offset + length)
            took.append(time.monotonic() - began_s)
        return {"bytes": length * len(offsets), "took_s": took}

    return work


def list_all(url: str, prefix: str) -> Work:
    """List everything below a prefix, a thousand keys a request."""
    store = _open(url)

    def work() -> dict[str, Any]:
        return {"bytes": 0, "files": sum(len(page) for page in obstore.list(store, prefix, chunk_size=1000))}

    return work


def _open(url: str) -> S3Store:
    return S3Store(
        "models",
        config={"endpoint": url, "region": "us-east-1", "skip_signature": True, "virtual_hosted_style_request": False},
        client_options={"allow_http": True, "timeout": "1h", "pool_max_idle_per_host": str(_CONNECTIONS)},
        retry_config={"max_retries": 0},
    )
