"""Rows on limits: little memory, a slow link, no rights to tune, files larger than what may be held."""

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import mounts, sources
from bench.bench import GIB, MIB, Bench
from bench.children import Job, run
from bench.groups import memory_group
from bench.rows_read import KEY, checked, shares
from bench.store import Link
from bench.table import Finding, Measured, Sample, median_of, rate_ratio

SLOW = Link(total_bytes_per_s=5e6)
_PIECES = 10


def stream(bench: Bench) -> Measured:
    """Stream a file that is larger than memory; its bytes are compared as they come, since they do not stay."""
    size = bench.scale.stream_bytes
    source = _marked(bench, "stream", size)
    peaks: list[int] = []

    def subject() -> dict[str, Sample]:
        total, cpu_s = 0.0, 0.0
        with bench.modelfs("stream")() as mounted:
            bench.store.reset()
            part = size // _PIECES
            for number in range(_PIECES):  # in parts, to see whether memory grows
                mounted.daemon.reset()
                told = {"path": str(mounted.path / "file.bin"), "source": str(source)}
                timed = run(Job("compare", {**told, "pieces": [[number * part, part]]}))
                total, cpu_s = total + timed.seconds, cpu_s + mounted.daemon.cpu_s()
                peaks.append(mounted.daemon.peak_bytes())
        return {"modelfs": Sample(total, part * _PIECES, cpu_s, max(peaks), bench.store.sent().bytes)}

    rounds = bench.take_turns({"modelfs": subject}, rounds=1)
    second, last = statistics.median(peaks[1:4]), statistics.median(peaks[-3:])
    findings = [
        Finding("peak in all processes", max(peaks) / MIB, "MiB", 350, "at most"),
        Finding("peak of the last three tenths to that of the second to fourth", last / second, "x", 1.1, "at most"),
    ]
    return Measured("stream", f"{size / GIB:g} GiB streamed and compared, {bench.link_name}", rounds, findings)


def one_group(bench: Bench) -> Measured:
    """Read a file with daemon and reader in one cgroup of 1 GiB, beside the same without."""
    size = bench.scale.group_bytes
    source = _marked(bench, "group", size)
    jobs, check = shares(size, 1, name="file.bin"), checked(source, name="file.bin")
    kills: list[int] = []

    def inside() -> dict[str, Sample]:
        with memory_group("both", GIB) as group:
            mounter = partial(mounts.modelfs, bench.store, *bench.options, prefix="group", preexec=group.join)
            with mounter() as mounted:
                readers = [Job(job.kind, job.arguments, group.join) for job in jobs(mounted.path)]
                sample = bench.measured(mounted, readers)
                told = check(mounted.path)
                run(Job(told.kind, told.arguments, group.join))
            kills.append(group.kills())
        return {"in 1 GiB": sample}

    outside = bench.cold("without a limit", bench.modelfs("group"), jobs, check=check)
    rounds = bench.take_turns({"without a limit": outside, "in 1 GiB": inside})
    findings = [
        Finding("speed to that without", rate_ratio(rounds, "in 1 GiB", "without a limit"), "x", 0.8),
        Finding("processes killed for memory", sum(kills), "", 0, "at most"),
    ]
    return Measured("cgroup", f"{size / GIB:g} GiB, daemon and reader in one cgroup of 1 GiB", rounds, findings)


def two_groups(bench: Bench) -> Measured:
    """Map a file in a reader of 8 GiB beside a daemon of 512 MiB, twice: the second time nothing is asked for."""
    size = bench.scale.group_bytes
    source = _marked(bench, "group", size)
    faults: list[int] = []
    sent: list[int] = []
    kills: list[int] = []

    def subject() -> dict[str, Sample]:
        with ExitStack() as stack:
            small = stack.enter_context(memory_group("daemon", 512 * MIB))
            large = stack.enter_context(memory_group("reader", 8 * GIB))
            mounter = partial(mounts.modelfs, bench.store, *bench.options, prefix="group", preexec=small.join)
            with mounter() as mounted:
                told = {"path": str(mounted.path / "file.bin"), "pieces": [[0, size]]}
                first = bench.measured(mounted, [Job("mapped", told, large.join)])
                bench.store.reset()
                mounted.daemon.reset()
                timed = run(Job("mapped", told, large.join))
                cpu_s = mounted.daemon.cpu_s()
                sent.append(bench.store.sent().bytes)
                faults.append(timed.each[0]["major_faults"])
                check = checked(source, name="file.bin")(mounted.path)
                run(Job(check.kind, check.arguments, large.join))
            kills.extend([small.kills(), large.kills()])
        return {"first": first, "second": Sample(timed.seconds, timed.bytes, cpu_s, None, sent[-1])}

    rounds = bench.take_turns({"modelfs": subject})
    findings = [
        Finding("second pass: bytes from the store", max(sent), "", 0, "at most"),
        Finding("second pass: page faults that waited for a read", max(faults), "", 0, "at most"),
        Finding("processes killed for memory", sum(kills), "", 0, "at most"),
    ]
    title = f"{size / GIB:g} GiB mapped twice, daemon in 512 MiB, reader in 8 GiB"
    return Measured("two-cgroups", title, rounds, findings)


def slow_link(bench: Bench) -> Measured:
    """Read over a link of 5 MB/s in all: it completes and nothing is fetched twice."""
    size = bench.scale.slow_bytes
    source = sources.random_file(bench.folder / "slow" / "file.bin", size, seed=5)
    bench.store.put({"slow/file.bin": source})
    bench.store.shape(SLOW)
    subject = bench.cold(
        "modelfs", bench.modelfs("slow"), shares(size, 1, name="file.bin"), check=checked(source, name="file.bin")
    )
    rounds = bench.take_turns({"modelfs": subject})
    bench.store.shape(bench.link)
    fetched = median_of(rounds["modelfs"], lambda each: (each.fetched_bytes or 0) / size)
    findings = [
        Finding("bytes fetched for each byte", fetched or 0.0, "", 1.05, "at most"),
        Finding("of the link's rate", statistics.median(each.rate / 5e6 for each in rounds["modelfs"]), "x"),
    ]
    return Measured("slow-link", f"{size / MIB:g} MiB over 5 MB/s in all, one reader", rounds, findings)


def no_sysfs(bench: Bench) -> Measured:
    """Read without the rights to tune the kernel's read-ahead, beside the tuned."""
    return _options(bench, "no-sysfs", "without sysfs rights (--read-ahead 0)", ("--read-ahead", "0"))


def small_memory(bench: Bench) -> Measured:
    """Read with --memory 64M, beside the default."""
    measured = _options(bench, "small-memory", "--memory 64M", ("--memory", "64M"), with_raw=True)
    peak = median_of(measured.rounds["--memory 64M"], lambda each: (each.peak_bytes or 0) / MIB)
    findings = [*measured.findings, Finding("peak in all processes", peak or 0.0, "MiB", 160, "at most")]
    return Measured(measured.row, measured.title, measured.rounds, findings)


def _options(bench: Bench, row: str, title: str, options: Sequence[str], *, with_raw: bool = False) -> Measured:
    source = bench.big_file()
    size = source.stat().st_size
    jobs, check = shares(size, 1), checked(source)
    named = " ".join(options)
    subjects = {"raw": bench.raw(KEY, size, bench.link)} if with_raw else {}
    subjects["default"] = bench.cold("default", bench.modelfs("big"), jobs, check=check)
    subjects[named] = bench.cold(named, bench.modelfs("big", *options), jobs, check=check)
    rounds = bench.take_turns(subjects)
    findings = [Finding("speed to the default's", rate_ratio(rounds, named, "default"), "x", 0.8)]
    return Measured(row, f"one reader, cold, {bench.link_name}, {title}", rounds, findings)


def _marked(bench: Bench, prefix: str, size: int) -> Path:
    """Have the store serve a sparse file of ``size`` bytes with a mark at each MiB."""
    source = sources.marked_file(bench.folder / prefix / "file.bin", size)
    bench.store.put({f"{prefix}/file.bin": source})
    return source


ROWS = {
    "stream": stream,
    "cgroup": one_group,
    "two-cgroups": two_groups,
    "slow-link": slow_link,
    "no-sysfs": no_sysfs,
    "small-memory": small_memory,
}
