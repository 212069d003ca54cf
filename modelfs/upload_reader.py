"""Asks the store which uploads have not ended, for what is about to be shown.

Law: never in the way. Each time within one deadline, and bounded; what cannot be had counts as none. A store that
refuses, although it lists, is not asked again: the permission is one that nobody needs to give.
"""

import logging
import time
from collections.abc import Collection, Iterable
from functools import partial

import trio

from modelfs.errors import ModelfsError, StoreUnavailableError
from modelfs.gate import model_of
from modelfs.gathering import gather
from modelfs.store import RetryPolicy, Store, Uploading, in_thread_with_retries
from modelfs.uploads import WHOLE, Upload, Uploads

log = logging.getLogger(__name__)

DEADLINE_S = 3.0
PAGES_MOST = 4  # of one folder; in a bucket with more open uploads the others are not seen
MODELS_MOST = 8  # of more than these, all of the repository is asked for at once
UNDATED_MOST = 10_000  # are remembered
FAILURES_MOST = 3  # in a row; then it is not the weather

_POLICY = RetryPolicy(deadline_s=DEADLINE_S)
_WHAT = "list uploads that have not ended"


class UploadReader:
    """Asks ``store``, where it can be asked."""

    def __init__(self, store: Store) -> None:
        self._store = store if isinstance(store, Uploading) else None
        self._failure: ModelfsError | None = None  # of the last time, while it is not known whether it lists
        self._failed = 0
        self._undated: dict[str, int] = {}  # when they were first seen
        self._limiter = trio.CapacityLimiter(MODELS_MOST)

    async def read(self, models: Collection[str], *, is_first: bool = False) -> Uploads:
        """Return what has not ended below ``models``, of which WHOLE is all.

        Before the first listing there is but one try: a store that is not there is for the listing to tell of.
        """
        if self._store is None:
            return Uploads()
        asked = frozenset({WHOLE} if WHOLE in models or len(models) > MODELS_MOST else models)
        try:
            ask = partial(self._folder, self._store, retry_on=() if is_first else (StoreUnavailableError,))
            found = await gather(sorted(asked), ask) if asked else {}
        except ModelfsError as error:
            self._failure = error
            return Uploads(asked=asked)
        if asked:
            self._failed, self._failure = 0, None
        return Uploads(_by_model(self._dated(upload) for uploads in found.values() for upload in uploads), asked)

    def note_listed(self) -> None:
        """Take note that the store lets itself be listed: what it refused just before, it refuses for good."""
        failure, self._failure = self._failure, None
        if failure is None or self._store is None:
            return
        self._failed += 1 if isinstance(failure, StoreUnavailableError) else FAILURES_MOST
        if self._failed >= FAILURES_MOST:
            self._store = None
            log.info("uploads that have not ended are not looked for any more, as the store refuses error=%s", failure)

    def _dated(self, upload: Upload) -> Upload:
        """Have an upload whose store does not tell when it began have begun when it was first seen."""
        if upload.begun_ns:
            return upload
        if len(self._undated) >= UNDATED_MOST:
            self._undated.clear()
        return upload._replace(begun_ns=self._undated.setdefault(upload.key, time.time_ns()))

    async def _folder(self, store: Uploading, model: str, *, retry_on: tuple[type[ModelfsError], ...]) -> list[Upload]:
        folder = "" if model == WHOLE else f"{model}/"
        found: list[Upload] = []
        token: str | None = None
        with trio.move_on_after(DEADLINE_S) as patience:
            for _ in range(PAGES_MOST):
                request = partial(store.list_uploads_page, token, folder)
                page = await in_thread_with_retries(
                    request, what=_WHAT, policy=_POLICY, limiter=self._limiter, retry_on=retry_on
                )
                found += page.uploads
                token = page.next_token
                if token is None:
                    break
        if patience.cancelled_caught:
            raise StoreUnavailableError(f"no answer from the store within {DEADLINE_S:g} s")
        return found


def _by_model(uploads: Iterable[Upload]) -> dict[str, list[Upload]]:
    found: dict[str, list[Upload]] = {}
    for upload in uploads:
        found.setdefault(model_of(upload.key), []).append(upload)
    return found
