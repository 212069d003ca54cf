"""Inode numbers: a hash of what they stand for.

Law: pure. A number depends on nothing but the path and the version, so it is the same in every process, on every host
and after every restart. A worker that takes a mount over finds what the kernel means by it, and the page cache of
one version can never be taken for another's.
"""

import hashlib

FIRST = 16  # the numbers below are for the root and what may come to stand beside it
LAST = 2**63 - 1


def number_of(path: str, version: str) -> int:
    """Return a number in [FIRST, LAST]. ``version`` is "" for a folder.

    >>> number_of("densenet_onnx/1/model.onnx", '"abc"')
    4236767979737840688
    """
    digest = hashlib.blake2b(f"{path}\0{version}".encode(), digest_size=8).digest()
    return max(FIRST, int.from_bytes(digest) >> 1)
