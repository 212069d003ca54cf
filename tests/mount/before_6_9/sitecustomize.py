"""Gives every supervisor that finds this folder in PYTHONPATH a kernel that cannot send requests again."""

import sys

if any("modelfs.supervisor" in argument for argument in sys.orig_argv):
    from modelfs import fuse_protocol

    fuse_protocol.can_resend = lambda init: False  # noqa: ARG005  its name
