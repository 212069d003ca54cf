"""The benchmark's own claims: it notices wrong bytes, counts what the store sent, and fails where a peer is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench import __main__ as command
from bench import mounts, sources, table
from bench.bench import AT_ONCE
from bench.children import Job, MeasureError, Watched, run
from bench.store import LOOPBACK, Link, Store, clean_environment
from bench.table import Finding, Measured, Sample

SIZE = 5_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return sources.random_file(tmp_path / "source", SIZE)


def compare(path: Path, source: Path) -> None:
    run(Job("compare", {"path": str(path), "source": str(source), "pieces": [[0, SIZE]]}))


@pytest.mark.parametrize("offset", [0, SIZE // 2, SIZE - 1])
def test_one_wrong_byte_fails_the_comparison(source: Path, tmp_path: Path, offset: int) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(source.read_bytes())
    compare(copy, source)
    with copy.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(MeasureError, match="WRONG BYTES"):
        compare(copy, source)


def test_file_that_is_too_short_fails_the_comparison_and_the_read(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(MeasureError):
        compare(copy, source)
    with pytest.raises(MeasureError, match="before"):
        run(Job("sequential", {"path": str(copy), "offset": 0, "length": SIZE}))


def test_one_wrong_byte_in_a_tree_fails_the_comparison(tmp_path: Path) -> None:
    left = sources.many_files(tmp_path / "left", folders=2, files=3, size=100)
    right = sources.many_files(tmp_path / "right", folders=2, files=3, size=100)
    job = Job("compare_trees", {"root": str(right), "source": str(left)})
    assert run(job).bytes == 600
    (right / "folder-001" / "part-00002.bin").write_bytes(b"x" * 100)
    with pytest.raises(MeasureError, match="part-00002"):
        run(job)


def test_readers_count_what_they_read(source: Path) -> None:
    parts = [[0, 2 << 20], [2 << 20, SIZE - (2 << 20)]]
    jobs = [Job("mapped", {"path": str(source), "pieces": [part]}) for part in parts]
    jobs.append(Job("scattered", {"path": str(source), "offsets": [0, 8192], "length": 4096}))
    timed = run(*jobs)
    assert timed.bytes == SIZE + 8192
    assert len(timed.each[2]["took_s"]) == 2
    assert timed.seconds > 0


def test_store_counts_what_it_sent_since_the_reset(source: Path) -> None:
    with Store() as store:
        store.put({"big/file": source})
        told = {"url": store.url, "key": "big/file", "size": SIZE, "at_once": AT_ONCE[0], "range_bytes": 1 << 20}
        assert run(Job("raw", told)).bytes == SIZE
        assert store.sent() == (5, 5, SIZE)
        store.reset()
        assert store.sent() == (0, 0, 0)
        store.shape(Link(0.001, 50e6, 50e6))
        run(Job("raw", told))
        store.shape(LOOPBACK)
        assert store.sent().bytes == SIZE
        listing = run(Job("raw_listing", {"url": store.url, "prefix": "big/"}))
        assert listing.each[0]["files"] == 1


def test_raw_reader_notices_an_object_that_is_shorter_than_said(source: Path) -> None:
    with Store() as store:
        store.put({"file": source})
        told = {"url": store.url, "key": "file", "size": SIZE + 1, "at_once": 4, "range_bytes": 1 << 20}
        with pytest.raises(MeasureError):
            run(Job("raw", told))


def test_cost_of_a_process_is_read_from_proc() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        watched = Watched([process.pid])
        watched.reset()
        assert watched.cpu_s() < 1
        assert 0 < watched.resident_bytes() <= watched.peak_bytes()
        assert watched.proportional_bytes() <= watched.resident_bytes()
        process.kill()


def test_sparse_file_tells_where_each_mebibyte_lies(tmp_path: Path) -> None:
    path = sources.marked_file(tmp_path / "marked", 3 << 20)
    assert path.stat().st_size == 3 << 20
    with path.open("rb") as file:
        marks = [int.from_bytes(os.pread(file.fileno(), 8, offset << 20), "little") - 1 for offset in range(3)]
    assert marks == [0, 1 << 20, 2 << 20]
    assert path.stat().st_blocks * 512 < 1 << 20


def test_peer_that_is_missing_fails_the_run_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mounts, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bench", "start", "--peers", "geesefs"])
    assert command.main() == 2
    assert "geesefs is asked for and is not here" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["bench", "start", "--peers", "s3fs"])
    assert command.main() == 2
    assert "there is no peer 's3fs'" in capsys.readouterr().err


def test_unknown_row_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "sequentail"])
    assert command.main() == 2
    assert "there is no row 'sequentail'; the rows are: sequential," in capsys.readouterr().err


def test_every_row_says_what_it_does() -> None:
    assert [name for name, row in command.ROWS.items() if not row.__doc__] == []


def test_figures_are_medians_and_ratios_those_of_pairs() -> None:
    rounds = {
        "raw": [Sample(1.0, 100), Sample(4.0, 100), Sample(2.0, 100)],
        "modelfs": [
            Sample(2.0, 100, 0.5, 1 << 20, 100),
            Sample(4.0, 100, 1.0, 3 << 20, 150),
            Sample(4.0, 100, 0.7, 2 << 20, 100),
        ],
    }
    assert table.rate_ratio(rounds, "modelfs", "raw") == 0.5
    assert table.time_ratio(rounds, "modelfs", "raw") == 2.0
    findings = [Finding("x", 0.5, "x", 0.65), Finding("y", 3.0, "s", 3.0, "at most"), Finding("z", 1.0)]
    assert [finding.holds for finding in findings] == [False, True, None]
    measured = Measured("row", "title", rounds, findings)
    (raw, ours) = table.rows_of(measured)
    assert (raw["seconds"], raw["cpu_s_per_gb"], raw["to_first"]) == (2.0, None, 1.0)
    assert (ours["peak_mib"], ours["fetched_per_byte"]) == (2.0, 1.0)
    text = table.text_of(measured)
    assert "x: 0.5 x (at least 0.65: FAILS)" in text
    assert "y: 3 s (at most 3: HOLDS)" in text
    assert json.loads(json.dumps(table.as_json(measured)))["findings"][1]["holds"] is True


def test_nothing_of_this_machines_settings_reaches_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_CA_BUNDLE", "MODELFS_MEMORY", "HTTP_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "x")
    environment = clean_environment()
    assert not {"AWS_PROFILE", "AWS_CA_BUNDLE", "MODELFS_MEMORY", "HTTP_PROXY", "https_proxy"} & environment.keys()
