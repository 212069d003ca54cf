"""What a mount answers on its control socket: how it is, what it does not show, and what it is asked to do.

Law: answers come from memory, but for ``check``, which asks the store, and ``kept``, which asks the disk.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

import trio

from modelfs.control import Handler
from modelfs.disk import DiskTier
from modelfs.location import Location
from modelfs.looks import Looks
from modelfs.offline import NOT_LISTED
from modelfs.operations import Operations
from modelfs.reading import Reading
from modelfs.store import Store
from modelfs.tree import File
from modelfs.trial import try_living
from modelfs.view import View

PENDING_TOLD = 100  # folders, in one answer

CHANGES_TOLD = 100  # paths, to who waits for a refresh


class Reports:
    """Answers for the mount of ``store`` at ``location`` that these parts serve. ``disk`` tells its tier of now."""

    def __init__(
        self,
        store: Store,
        location: Location,
        view: View,
        operations: Operations,
        *,
        looks: Looks,
        reading: Reading,
        disk: Callable[[], DiskTier | None],
        refresh_s: float,
        is_offline: bool,
    ) -> None:
        self._store = store
        self._location = location
        self._view = view
        self._operations = operations
        self._looks = looks
        self._reading = reading
        self._disk = disk
        self._refresh_s = refresh_s
        self._is_offline = is_offline

    @property
    def commands(self) -> Mapping[str, Handler]:
        """What can be asked, by name."""
        return {
            "status": self._status,
            "check": self._check,
            "refresh": self._refresh,
            "pending": self._pending,
            "kept": self._kept,
        }

    def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Return what ``modelfs status`` shows. Times are Unix seconds."""
        health = self._view.health()
        failing = self._reading.failing.now()
        tree = self._view.tree
        reason = health.error or failing.reason
        return {
            "healthy": not reason,
            "offline": self._is_offline,
            "reason": reason,
            "refresh_s": self._refresh_s,
            "failing_since_s": health.failing_since,
            "listed_at_s": health.listed_at,
            "listings": health.listings,
            "listing_is_shared": health.is_shared,
            "folders_not_listed": health.bare,
            "reads_failing": failing.reads,
            "reads_failing_since_s": failing.since,
            "read_error": failing.error,
            "files": tree.files,
            "bytes": tree.total_bytes,
            "objects_not_shown": len(tree.omissions),
            "folders_pending": len(self._view.pending),
            "pending": [{"folder": each.folder, "reason": each.reason} for each in self._view.pending[:PENDING_TOLD]],
            "inodes": len(self._operations.inodes),
            "open_files": self._operations.open_files,
            "reads": self._operations.reads,
            "read_bytes": self._operations.read_bytes,
            **self._reading.statistics(),
        }

    async def _check(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Return what ``modelfs check MOUNTPOINT`` tells of the store, asked with our own credentials."""
        lines = await try_living(
            self._store,
            self._location,
            find_largest=self._view.tree.largest,
            pages=self._view.health().pages,
            refresh_s=self._refresh_s,
        )
        return {"lines": [asdict(line) for line in lines]}

    def _refresh(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have the repository, or a model of it, listed and return the number of that listing; or tell how it ended.

        A number is of the ``worker`` that gave it: another one, which has taken the mount over, has to be asked anew.
        """
        number, model = request.get("number"), request.get("model")
        if self._is_offline:
            return {"ended": True, "error": NOT_LISTED}
        if not isinstance(number, int) or request.get("worker") != os.getpid():
            number = self._view.ask_for_refresh() if model is None else self._looks.ask(str(model))
            return {"ended": False, "number": number, "worker": os.getpid()}
        ended = self._view.round(number) if model is None else self._looks.round(number)
        if ended is None:
            return {"ended": False, "number": number, "worker": os.getpid()}
        changed = [path for path in ended.changed if model in {None, path.partition("/")[0]}]
        pending = [each for each in self._view.pending if model in {None, each.folder.partition("/")[0]}]
        return {
            "ended": True,
            "error": ended.error,
            "changed": changed[:CHANGES_TOLD],
            "changes": len(changed),
            "is_known": model is None or bool(changed or pending) or self._view.tree.find(str(model)) is not None,
            "pending": [{"folder": each.folder, "reason": each.reason} for each in pending[:PENDING_TOLD]],
        }

    def _pending(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the next folders that are not shown as they are stored, behind the one that the request names."""
        after = str(request.get("after", ""))
        waiting = islice((each for each in self._view.pending if each.folder > after), PENDING_TOLD)
        find = self._view.tree.find
        return {"pending": [{**each._asdict(), "is_shown": find(each.folder) is not None} for each in waiting]}

    async def _kept(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return how many bytes of the files at the paths that the request names are kept on the disk."""
        nodes = [self._view.tree.find(str(path)) for path in request.get("paths", [])]
        files = [node.info for node in nodes if isinstance(node, File)]
        disk = self._disk()
        if disk is None or len(files) < len(nodes):
            return {"bytes": [0] * len(nodes)}
        return {"bytes": await trio.to_thread.run_sync(lambda: [kept for _, kept in disk.kept_bytes(files)])}
