"""The messages that the supervisor itself reads and writes, against bytes that a kernel and libfuse have sent."""

import errno
import struct

import pytest

from modelfs import fuse_protocol

INIT = struct.pack("=IIQQIIIIIIIII44x", 104, 26, 2, 0, 0, 0, 0, 0, 7, 45, 131072, 0x73FFFFFB, 0x5FD)
"""As Linux 6.18 sends it."""
ANSWER = struct.pack("=IiQIIIIHHIIHHI28x", 80, 0, 2, 7, 36, 131072, 0x0040F03B, 12, 9, 1048576, 1, 256, 0, 0)
"""As libfuse 3.14 answers it."""


def test_answer_to_init_gets_more_background_requests() -> None:
    answer = bytearray(80)
    answer[32:36] = b"\x0c\x00\x09\x00"
    patched = fuse_protocol.raise_background_limit(bytes(answer))
    assert patched[32:36] == b"\x00\x02\x80\x01"
    assert patched[:32] + patched[36:] == bytes(answer[:32] + answer[36:])


@pytest.mark.parametrize("answer", [b"", b"short", b"\x10\x00\x00\x00\xb6\xff\xff\xff" + bytes(72)])
def test_answer_to_init_that_is_an_error_or_short_stays_as_it_is(answer: bytes) -> None:
    assert fuse_protocol.raise_background_limit(answer) == answer


def test_kernels_from_6_9_on_can_resend() -> None:
    assert fuse_protocol.can_resend(INIT)
    without_resend = bytearray(INIT)
    without_resend[56] &= 0x7F
    without_flags2 = bytearray(INIT)
    without_flags2[55] &= 0xBF
    for init in (bytes(without_resend), bytes(without_flags2), INIT[:56]):
        assert not fuse_protocol.can_resend(init)


def test_a_later_worker_is_offered_what_the_first_accepted() -> None:
    again = fuse_protocol.init_again(INIT, ANSWER)
    assert len(again) == len(INIT)
    assert again[:52] == INIT[:52]
    assert struct.unpack_from("=II", again, 52) == (0x73FFFFFB & 0x0040F03B, 0)
    assert fuse_protocol.init_again(INIT[:56], ANSWER) == again[:56]


def test_request_and_answer_have_the_kernels_form() -> None:
    request = fuse_protocol.request_of(INIT)
    assert (request.unique, request.name, request.is_answered) == (2, "opcode 26", True)
    assert not fuse_protocol.Request(4, 42, 1).is_answered
    assert fuse_protocol.Request(4, 15, 1).name == "READ"
    assert fuse_protocol.error_answer(6, errno.ESTALE) == b"\x10\0\0\0\x8c\xff\xff\xff\x06\0\0\0\0\0\0\0"
    assert struct.unpack("=IiQ", fuse_protocol.RESEND) == (16, 7, 0)


def test_a_buffer_is_large_enough_for_the_kernel() -> None:
    assert fuse_protocol.request_bytes_max(ANSWER) >= 1048576 + 4096
