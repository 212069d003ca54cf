"""A store that is opened when it is first asked: for a worker that takes a mount over, and must serve at once.

Law: what keeps it from being opened (an identity service that is away, a file of keys that is being replaced) is
weather to whoever asks, and passes by trying again, whatever it would be at a mount.
"""

import logging
import threading
from collections.abc import Callable

from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError, StoreUnavailableError, UsageError
from modelfs.store import Facts, Levelled, Page, Place, Placed, Store, Telling, Uploading, UploadPage

log = logging.getLogger(__name__)

_TURN_S = 10.0
"""How long who asks waits for another who is opening it. Then its own try has failed."""


class LateStore:
    """The store that ``open_it``, which blocks, returns."""

    def __init__(self, open_it: Callable[[], Store]) -> None:
        self._open_it = open_it
        self._opening = threading.Lock()
        self._store: Store | None = None
        self._has_warned = False

    def list_page(self, token: str | None, folder: str = "") -> Page:
        """Return a page of the listing, see ``Store.list_page``."""
        return self._opened().list_page(token, folder)

    def list_level_page(self, token: str | None, folder: str = "") -> Page:
        """Return a page of one folder, see ``Levelled.list_level_page``."""
        store = self._opened()
        if not isinstance(store, Levelled):
            raise UsageError("this store cannot be listed model by model. Leave --list on-open out.")
        return store.list_level_page(token, folder)

    def list_uploads_page(self, token: str | None, folder: str = "") -> UploadPage:
        """Return a page of uploads, see ``Uploading.list_uploads_page``; none from a store that tells of none."""
        store = self._opened()
        return store.list_uploads_page(token, folder) if isinstance(store, Uploading) else UploadPage([], None)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:
        """Return bytes of a version, see ``Store.read``."""
        return self._opened().read(info, offset, length)

    def place(self) -> Place:
        """Return what tells this repository from others, see ``Placed``."""
        store = self._opened()
        if not isinstance(store, Placed):
            raise UsageError("what this store holds cannot be kept for others")
        return store.place()

    def facts(self) -> Facts:
        """Return what the store knows of itself."""
        store = self._opened()
        return store.facts() if isinstance(store, Telling) else Facts(endpoint="", identity="")

    def _opened(self) -> Store:
        if self._store is not None:
            return self._store
        if not self._opening.acquire(timeout=_TURN_S):
            raise StoreUnavailableError("the store is not open yet: where its credentials come from does not answer")
        try:
            if self._store is None:
                self._store = self._open_it()
                log.warning("the store is open")
        except ModelfsError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning("the store cannot be opened; names are served, reads wait until it can error=%s", error)
            raise StoreUnavailableError(f"the store cannot be opened: {error}") from error
        finally:
            self._opening.release()
        return self._store
