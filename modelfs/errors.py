"""The exceptions of modelfs, each with the errno that it becomes.

Law: only these leave a module; engines map foreign errors to them by type (``store_*``), and only ``operations``
turns them into FUSE errors. A message says what failed, on which key, and what to do, and never holds a secret.
"""

import errno


class ModelfsError(Exception):
    """Anything that modelfs reports on purpose. ``errno`` is what a file operation answers."""

    errno: int = errno.EIO


class UsageError(ModelfsError):
    """A URL, option, file or machine is not as it must be. The command line exits with status 2."""


class ObjectNotFoundError(ModelfsError):
    """There is no such key, bucket or path."""

    errno = errno.ENOENT


class AccessRefusedError(ModelfsError):
    """The store refuses the credentials, or there are none."""

    errno = errno.EACCES


class VersionGoneError(ModelfsError):
    """The pinned version of an object is no longer what the store serves."""

    errno = errno.ESTALE


class StoreUnavailableError(ModelfsError):
    """The store cannot be reached, throttles, fails (5xx) or stalls. Worth a retry."""


class CorruptAnswerError(StoreUnavailableError):
    """The store answered with a body that is truncated, over-long or not what was asked for. Worth a retry."""


class UnsortedError(ModelfsError):
    """The store's listing is not in the order of the keys' bytes, or not between the keys that were asked for."""


class StoreRefusedError(ModelfsError):
    """The store answers with an error that only a person mends (bad request, redirect, a certificate).

    A mount is refused at once. A read is tried again nevertheless: it is mended, as a rule, and Triton takes a quick
    error for the end of the file.
    """


class ObjectArchivedError(ModelfsError):
    """The object lies in an archive. No retry brings it back within a read's deadline."""


PASSING = (StoreUnavailableError, AccessRefusedError, StoreRefusedError, ObjectNotFoundError)
"""What a read is tried again for: credentials are being rotated, a certificate or a bucket mended, as a rule."""
