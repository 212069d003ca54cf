"""Log lines and the file that holds them."""

import errno
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelfs import logs


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {logger: logger.level for logger in map(logging.getLogger, (None, "modelfs", "__main__", "botocore"))}
    yield
    root.handlers[:] = handlers
    for logger, level in levels.items():
        logger.setLevel(level)


def test_text_line_has_time_level_logger_and_message() -> None:
    stream = io.StringIO()
    logs.configure(level="info", form="text", stream=stream)
    logging.getLogger("modelfs.x").info("mounted mountpoint=%s", "/mnt")
    logging.getLogger("modelfs.x").debug("unheard")
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == "INFO modelfs.x mounted mountpoint=/mnt\n"


def test_json_line_is_one_object_also_with_a_traceback() -> None:
    stream = io.StringIO()
    logs.configure(level="info", form="json", stream=stream)
    try:
        int("two\nlines")
    except ValueError:
        logging.getLogger("modelfs.x").exception('said "so"')
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("ERROR", "modelfs.x", 'said "so"')
    assert "ValueError" in found["exception"]


def test_line_of_a_shared_log_says_whose_it_is() -> None:
    """As ``mount --all --foreground`` has it; a "%" is a character of the name."""
    stream = io.StringIO()
    logs.configure(level="info", form="text", stream=stream, mountpoint="/mnt/100%s")
    logging.getLogger("modelfs.x").info("listed files=%d", 3)
    assert stream.getvalue().endswith("INFO modelfs.x [/mnt/100%s] listed files=3\n")
    stream = io.StringIO()
    logs.configure(level="info", form="json", stream=stream, mountpoint="/mnt/a")
    logging.getLogger("modelfs.x").info("listed")
    assert json.loads(stream.getvalue())["mountpoint"] == "/mnt/a"


def test_log_is_moved_aside_once_it_has_grown(tmp_path: Path) -> None:
    log = logs.RotatingLog(str(tmp_path / "log"), longest_bytes=10)
    for text in ("first\n", "abc\n", "third\n", "4\n", "the fifth is longer\n"):
        log.write(text)
    assert (tmp_path / "log").read_text() == "the fifth is longer\n"
    assert (tmp_path / "log.1").read_text() == "third\n4\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_log_that_cannot_be_made_anew_never_writes_into_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logs.RotatingLog(str(tmp_path / "log"), longest_bytes=10)
    log.write("12345678\n")

    def no_descriptor_left(*_arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor_left)
        log.write("too long\n")
    with (tmp_path / "other").open("wb"):
        log.write("\n")
    assert (tmp_path / "other").read_bytes() == b""


def test_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    for text in ("a\n", "b\n"):
        logs.RotatingLog(str(tmp_path / "log"), longest_bytes=100).write(text)
    assert (tmp_path / "log").read_text() == "a\nb\n"


def test_pipe_as_a_log_stops_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        logs.RotatingLog(str(tmp_path / "pipe"))
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    log = logs.RotatingLog(str(tmp_path / "pipe"))
    for _ in range(100):
        log.write("x" * 9_999 + "\n")
    os.close(reader)


def test_full_disk_loses_lines_and_raises_nothing() -> None:
    log = logs.RotatingLog("/dev/full")
    log.write("lost\n")
    log.flush()


@pytest.mark.parametrize("name", ["botocore.auth", "urllib3.connectionpool", "azure.core", "google.auth"])
def test_debug_level_is_for_our_own_lines_and_not_for_libraries_that_log_secrets(name: str) -> None:
    stream = io.StringIO()
    logs.configure(level="debug", form="text", stream=stream)
    logging.getLogger(name).debug("token=hunter2")
    logging.getLogger(name).info("token=hunter2")
    logging.getLogger("modelfs.x").debug("ours")
    assert "hunter2" not in stream.getvalue()
    assert "ours" in stream.getvalue()
