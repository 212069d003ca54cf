"""The few messages of the FUSE protocol that the supervisor itself reads and writes.

Law: standard library only; bytes in, bytes out, and no descriptor. Everything else of the protocol is libfuse's, in the
worker. Sources: include/uapi/linux/fuse.h and fs/fuse/dev.c of Linux 6.18.
"""

import struct
from typing import NamedTuple

# struct fuse_in_header: length, opcode, unique, node id; uid, gid, pid and padding follow. In all 40 bytes.
_IN_HEADER = struct.Struct("=IIQQ")
_IN_HEADER_BYTES = 40
# struct fuse_out_header: length, error, unique
_OUT_HEADER = struct.Struct("=IiQ")

# struct fuse_init_in behind the header: major, minor, max_readahead, flags, flags2
_INIT_IN_FLAGS, _INIT_IN_FLAGS2 = _IN_HEADER_BYTES + 12, _IN_HEADER_BYTES + 16
# struct fuse_init_out behind the header: major, minor, max_readahead, flags, max_background and congestion_threshold
# (16 bits each), max_write, time_gran, max_pages and map_alignment (16 bits each), flags2
_INIT_OUT_FLAGS = _OUT_HEADER.size + 12
_INIT_OUT_LIMITS = _OUT_HEADER.size + 16
_INIT_OUT_MAX_WRITE = _OUT_HEADER.size + 20
_INIT_OUT_FLAGS2 = _OUT_HEADER.size + 32

_FLAGS = struct.Struct("=I")
_LIMITS = struct.Struct("=HH")
_HAS_FLAGS2 = 1 << 30  # FUSE_INIT_EXT
_HAS_RESEND = 1 << (39 - 32)  # of flags2, from Linux 6.9 on

_MAX_BACKGROUND = 512
"""libfuse's 12 let the 13th page-cache read wait for the first (seen); 512 x 1 MiB is more than any store feeds."""
_CONGESTION_THRESHOLD = 384  # three quarters, as the kernel's own default

RESEND = _OUT_HEADER.pack(_OUT_HEADER.size, 7, 0)
"""FUSE_NOTIFY_RESEND: what was read from the descriptor, and not answered, can be read from it once more."""

RESENT = 1 << 63
"""Is set in the number of a request that is sent again, and belongs to it from then on."""

NUMBER_STEP = 2
"""The numbers of requests rise by this, from 2 on; an INTERRUPT has the odd number behind that of its request."""

_OPCODES = {1: "LOOKUP", 3: "GETATTR", 14: "OPEN", 15: "READ", 17: "STATFS", 18: "RELEASE", 25: "FLUSH"}
_OPCODES |= {22: "GETXATTR", 23: "LISTXATTR", 27: "OPENDIR", 28: "READDIR", 29: "RELEASEDIR", 44: "READDIRPLUS"}
_UNANSWERED = {2, 36, 41, 42}  # FORGET, INTERRUPT, NOTIFY_REPLY, BATCH_FORGET


class Request(NamedTuple):
    """The head of a request: what an answer must name, what it asks for, and the inode that it is about."""

    unique: int
    opcode: int
    inode: int

    @property
    def number(self) -> int:
        """Return what stays the same when it is sent again."""
        return self.unique & ~RESENT

    @property
    def name(self) -> str:
        """Return the kernel's word for it."""
        return _OPCODES.get(self.opcode, f"opcode {self.opcode}")

    @property
    def is_answered(self) -> bool:
        """Whether the kernel waits for an answer."""
        return self.opcode not in _UNANSWERED


def request_of(data: bytes) -> Request:
    """Return the head of what was read from the descriptor."""
    _, opcode, unique, inode = _IN_HEADER.unpack_from(data)
    return Request(unique, opcode, inode)


def error_answer(unique: int, code: int) -> bytes:
    """Return the answer that ends the request ``unique`` with an errno.

    >>> len(error_answer(2, 116))
    16
    """
    return _OUT_HEADER.pack(_OUT_HEADER.size, -code, unique)


def can_resend(init: bytes) -> bool:
    """Tell by its INIT request whether a kernel knows RESEND."""
    return bool(_flags(init, _INIT_IN_FLAGS) & _HAS_FLAGS2 and _flags(init, _INIT_IN_FLAGS2) & _HAS_RESEND)


def request_bytes_max(init_answer: bytes) -> int:
    """Return how large a buffer must be for the kernel to fill it with a request: max_write, and a page."""
    return _flags(init_answer, _INIT_OUT_MAX_WRITE) + 64 * 1024


def raise_background_limit(init_answer: bytes) -> bytes:
    """Return the answer to INIT with room for more requests in the background.

    pyfuse3 exposes nothing of ``fuse_conn_info``, and sysfs is often read-only in containers. An answer that reports
    an error or is too short to hold the limits is returned as it is.
    """
    if len(init_answer) < _INIT_OUT_LIMITS + _LIMITS.size or _OUT_HEADER.unpack_from(init_answer)[1] != 0:
        return init_answer
    patched = bytearray(init_answer)
    _LIMITS.pack_into(patched, _INIT_OUT_LIMITS, _MAX_BACKGROUND, _CONGESTION_THRESHOLD)
    return bytes(patched)


def init_again(init: bytes, init_answer: bytes) -> bytes:
    """Return the INIT request for a later worker: it offers what the first worker accepted, and nothing beyond that.

    So a libfuse that was upgraded meanwhile speaks as the kernel expects.
    """
    asked = bytearray(init)
    for at, accepted_at in ((_INIT_IN_FLAGS, _INIT_OUT_FLAGS), (_INIT_IN_FLAGS2, _INIT_OUT_FLAGS2)):
        if len(asked) >= at + _FLAGS.size:
            _FLAGS.pack_into(asked, at, _flags(init, at) & _flags(init_answer, accepted_at))
    return bytes(asked)


def _flags(message: bytes, at: int) -> int:
    """Return the 32 bits at ``at``; 0 where an older protocol's message ends before."""
    return int(_FLAGS.unpack_from(message, at)[0]) if len(message) >= at + _FLAGS.size else 0
