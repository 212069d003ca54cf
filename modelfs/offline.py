"""A store that is not to be asked: ``--offline``.

Law: what is on the disk is served by the tiers above; whoever comes here is told so at once, and not tried again.
"""

from modelfs.blocks import ObjectInfo
from modelfs.errors import ModelfsError
from modelfs.store import Page

NOT_LISTED = "the mount is --offline, so nothing is listed"


class OfflineError(ModelfsError):
    """It would have to be asked for, and the mount is not to ask."""


class OfflineStore:
    """Stands for any store."""

    def list_page(self, token: str | None, folder: str = "") -> Page:  # noqa: ARG002  the protocol's
        """List nothing."""
        raise OfflineError(NOT_LISTED)

    def list_level_page(self, token: str | None, folder: str = "") -> Page:
        """List nothing."""
        return self.list_page(token, folder)

    def read(self, info: ObjectInfo, offset: int, length: int) -> memoryview:  # noqa: ARG002  the protocol's
        """Read nothing."""
        raise OfflineError(f"{info.key!r} is not on the disk, and the mount is --offline; mount it without, or warm it")
