"""What surrounds the file system in the reference model: keys and sizes, and what a kernel and a network remember.

Law: plain records. The machine alone changes them.
"""

import random
from dataclasses import dataclass, field
from functools import cache

import trio
from stores.memory_store import MemoryStore

from modelfs.blocks import BLOCK_BYTES, ObjectInfo
from modelfs.errors import StoreUnavailableError
from modelfs.store import Page

B = BLOCK_BYTES

KEYS = [
    *("m/1/x", "m/1/y", "m/2/x", "m/config.pbtxt", "n/1/x", "top"),  # as they should be
    *("m", "m/", "m/1", "m/1/", "m/1/x/z", "n", "n/", "top/", "e/"),  # colliding, and markers
    *(".git/x", "m/.h", "m/__pycache__/c", "n_$folder$", "h/1/_$folder$"),  # hidden
    *("", "/", "m//x", "m/./x", "m/../top", "/top", "k" * 256, "nul\0", "\udc80"),  # impossible
    *("m/1/a\nb", "m/1/é +=%", "k" * 255),  # odd but possible
    *("m/3.bak/x", "n/01/x", "n/1/model.py"),  # versions that are none
]
NAMES = [*("m", "n", "1", "2", "x", "z", "top", "config.pbtxt", "a\nb"), *(".git", "m_$folder$", "..", "", "\udc80")]
SIZES = [0, 1, 4096, B - 1, B, B + 1, 3 * B + 7]
FAILURES = {"unavailable": StoreUnavailableError, "bug": ZeroDivisionError}


@cache
def data_of(seed: int, size: int) -> bytes:
    """Return bytes of which no two places look alike."""
    return random.Random(seed).randbytes(size)


@dataclass
class Fetch:
    """One request to the store, which waits until the machine lets it end."""

    info: ObjectInfo
    may_end: trio.Event = field(default_factory=trio.Event)
    fails: type[Exception] | None = None


@dataclass
class Held:
    """An inode that the kernel holds. ``version`` is None for a folder. ``opens`` and ``listings`` are open."""

    path: str
    version: str | None
    lookups: int = 0
    opens: int = 0
    listings: int = 0

    @property
    def is_used(self) -> bool:
        """Tell whether the kernel would keep it."""
        return bool(self.opens or self.listings)


@dataclass
class Read:
    """A READ on its way. ``known_failures`` happened before it began."""

    number: int
    offset: int
    length: int
    known_failures: int
    answer: bytes | int | None = None  # an int is an errno


@dataclass
class Listing:
    """An open folder that is read page by page."""

    number: int
    next_id: int
    seen: list[str]
    stayed: set[str]
    ever: set[str]


class ListedStore(MemoryStore):
    """A store that remembers what its last listing told, and lets the machine act before a page."""

    def __init__(self) -> None:
        super().__init__(page_size=3)
        self.told: list[ObjectInfo] = []

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Answer as a MemoryStore, and remember it."""
        if token is None:
            self.told = []
        page = super().list_page(token, folder)
        self.told += page.objects
        return page
