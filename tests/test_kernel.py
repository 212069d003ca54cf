"""Tuning: where it writes, and that it never fails."""

from pathlib import Path

import pytest

from modelfs import kernel, mounting


def test_read_ahead_is_written_for_the_device_of_the_mount(tmp_path: Path) -> None:
    entry = mounting.mounted_at("/proc")
    assert entry
    (tmp_path / entry.device).mkdir()
    assert kernel.tune("/proc", 2048, bdi=tmp_path)
    assert (tmp_path / entry.device / "read_ahead_kb").read_text() == "2048"


def test_refusal_is_one_warning_that_says_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not kernel.tune("/proc", 2048, bdi=tmp_path)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "echo 2048 > " in record.getMessage()


def test_nothing_is_tuned_where_nothing_is_mounted(tmp_path: Path) -> None:
    assert not kernel.tune(str(tmp_path), 2048, bdi=tmp_path)
