"""Rows on reading one large file: sequential, mapped, by real loaders, at random; loopback and cloud-shaped."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import sources
from bench.bench import MIB, Bench, against_raw, local
from bench.children import Job, run
from bench.store import CLOUD, LOOPBACK, Link
from bench.table import Finding, Measured, Sample, median_of, median_ratio, percentile, rate_ratio, time_ratio

KEY = "big/model.safetensors"
NAME = "model.safetensors"
PIECE_BYTES = 64 * MIB
RANDOM_BYTES = 4096

Jobs = Callable[[Path], Sequence[Job]]


def shares(size: int, readers: int, *, name: str = NAME) -> Jobs:
    """Return readers that each read one part of the file."""
    part = size // readers
    starts = [number * part for number in range(readers)]
    stops = [*starts[1:], size]

    def jobs(path: Path) -> list[Job]:
        return [
            Job("sequential", {"path": str(path / name), "offset": start, "length": stop - start})
            for start, stop in zip(starts, stops, strict=True)
        ]

    return jobs


def checked(source: Path, *, name: str = NAME) -> Callable[[Path], Job]:
    """Return the comparison of the whole file with its source."""
    pieces = [[0, source.stat().st_size]]
    return lambda path: Job("compare", {"path": str(path / name), "source": str(source), "pieces": pieces})


def _sequential(bench: Bench, row: str, title: str, *, readers: int, link: Link, bar: float) -> Measured:
    source = bench.big_file()
    size = source.stat().st_size
    bench.store.shape(link)
    subjects = {"raw": bench.raw(KEY, size, link)}
    for name, mounter in bench.mounters("big").items():
        subjects[name] = bench.cold(name, mounter, shares(size, readers), check=checked(source))
    rounds = bench.take_turns(subjects)
    findings = [bench.best_raw(size, link), against_raw(rounds, "modelfs", bar)]
    findings += [
        Finding(f"modelfs to {name}", rate_ratio(rounds, "modelfs", name), "x")
        for name in bench.peers
        if name in rounds
    ]
    bench.store.shape(bench.link)
    return Measured(row, title, rounds, findings)


def sequential(bench: Bench) -> Measured:
    """Cold, one reader."""
    return _sequential(
        bench, "sequential", f"one reader, cold, {bench.link_name}", readers=1, link=bench.link, bar=0.65
    )


def sequential_4(bench: Bench) -> Measured:
    """Cold, four readers, each a quarter of the file."""
    title = f"four readers of a quarter each, cold, {bench.link_name}"
    return _sequential(bench, "sequential-4", title, readers=4, link=bench.link, bar=0.65)


def cloud(bench: Bench) -> Measured:
    """Cold, cloud-shaped, one reader."""
    title = "one reader, cold, 30 ms to the first byte, 90 MB/s a connection, 600 MB/s in all"
    return _sequential(bench, "cloud", title, readers=1, link=CLOUD, bar=0.95)


def shared_4(bench: Bench) -> Measured:
    """Cold, four readers, each the whole file: one download."""
    source = bench.big_file()
    size = source.stat().st_size

    def jobs(path: Path) -> list[Job]:
        return [*shares(size, 1)(path)] * 4

    subjects = {"raw": bench.raw(KEY, size, bench.link)}
    for name, mounter in bench.mounters("big").items():
        subjects[name] = bench.cold(name, mounter, jobs, check=checked(source), size=size)
    rounds = bench.take_turns(subjects)
    fetched = median_of(rounds["modelfs"], lambda each: (each.fetched_bytes or 0) / size)
    findings = [
        Finding("modelfs to raw, by bytes of the file", rate_ratio(rounds, "modelfs", "raw"), "x"),
        Finding("modelfs fetched, of each byte of the file", fetched or 0.0, "", 1.05, "at most"),
    ]
    return Measured("shared-4", f"four readers of the same whole file, cold, {bench.link_name}", rounds, findings)


def again(bench: Bench) -> Measured:
    """Read the same file a second time, beside a local file in the page cache.

    A disk's file system keeps it in large folios. The one in memory (the source itself) has single pages, as FUSE has.
    """
    source = bench.big_file()
    size = source.stat().st_size
    copy = bench.local_copy(source)
    warm = shares(size, 1)(copy.parent)
    single = shares(size, 1)(source.parent)
    subjects = {
        "local file, cached": local("local file, cached", warm, before=lambda: run(*warm)),
        "single pages, cached": local("single pages, cached", single, before=lambda: run(*single)),
    }
    for name, mounter in bench.mounters("big").items():
        subjects[name] = bench.cold(name, mounter, shares(size, 1), check=checked(source), again=True)
    rounds = bench.take_turns(subjects)
    cost = median_of(rounds["modelfs, again"], lambda each: each.cpu_s)
    findings = [
        Finding(
            "modelfs again to the local file", rate_ratio(rounds, "modelfs, again", "local file, cached"), "x", 0.85
        ),
        Finding("modelfs again to single pages", rate_ratio(rounds, "modelfs, again", "single pages, cached"), "x"),
        Finding("modelfs's CPU in it", cost or 0.0, "s", 0.05, "at most"),
    ]
    return Measured("again", "the same file again, one reader", rounds, findings)


def mapped(bench: Bench) -> Measured:
    """Copy out of mappings by 1, 4 and 8 processes in interleaved pieces, beside the sequential read."""
    source = bench.big_file()
    size = source.stat().st_size
    subjects = {}
    for name, mounter in bench.mounters("big").items():
        subjects[name] = bench.cold(name, mounter, shares(size, 1), check=checked(source))
        for count in (1, 4, 8) if name == "modelfs" else (1, 4):  # a peer takes a minute for the eight
            told = f"{name}, mmap by {count}"
            subjects[told] = bench.cold(told, mounter, _interleaved(size, count), check=checked(source))
    rounds = bench.take_turns(subjects)
    findings = [
        Finding(f"mmap by {count} to sequential", rate_ratio(rounds, f"modelfs, mmap by {count}", "modelfs"), "x", 0.9)
        for count in (1, 4, 8)
    ]
    return Measured("mmap", f"mmap in interleaved pieces, cold, {bench.link_name}", rounds, findings)


def _interleaved(size: int, count: int) -> Jobs:
    piece = min(PIECE_BYTES, max(4 * MIB, size // count // 2))
    pieces = [[offset, min(piece, size - offset)] for offset in range(0, size, piece)]

    def jobs(path: Path) -> list[Job]:
        return [Job("mapped", {"path": str(path / NAME), "pieces": pieces[number::count]}) for number in range(count)]

    return jobs


def loaders(bench: Bench) -> Measured:
    """Load by safetensors and by onnxruntime, cold, beside the sequential read and the same from a local file."""
    source = bench.big_file()
    model = sources.onnx_with_external_data(bench.folder / "onnx", bench.scale.file_bytes)
    bench.store.put(sources.keys_below(model, "onnx"))
    weights = model / "weights.bin"
    copy = bench.local_copy(source)
    sizes = {"big": source.stat().st_size, "onnx": weights.stat().st_size}

    def tensors(path: Path) -> list[Job]:
        return [Job("safetensors", {"path": str(path / NAME)})]

    def session(path: Path) -> list[Job]:
        return [Job("onnx", {"path": str(path / "model.onnx")})]

    check_weights = checked(weights, name="weights.bin")
    subjects = {
        "local safetensors, cached": local(
            "local safetensors, cached", tensors(copy.parent), before=lambda: run(*tensors(copy.parent))
        ),
        "local onnx, cached": local("local onnx, cached", session(model), size=sizes["onnx"]),
    }
    for name, mounter in bench.mounters("big").items():
        subjects[name] = bench.cold(name, mounter, shares(sizes["big"], 1), check=checked(source))
        told = f"{name}, safetensors"
        subjects[told] = bench.cold(told, mounter, tensors, check=checked(source))
    for name, mounter in bench.mounters("onnx").items():
        told = f"{name}, onnx"
        subjects[told] = bench.cold(told, mounter, session, check=check_weights, size=sizes["onnx"])
    rounds = bench.take_turns(subjects)
    findings = [
        Finding(
            f"{kind} to the sequential read", time_ratio(rounds, f"modelfs, {kind}", "modelfs"), "x", 1.15, "at most"
        )
        for kind in ("safetensors", "onnx")
    ]
    # what the loader itself takes, which no file system can better
    findings += [
        Finding(
            f"{kind} to the same from the page cache",
            time_ratio(rounds, f"modelfs, {kind}", f"local {kind}, cached"),
            "x",
        )
        for kind in ("safetensors", "onnx")
    ]
    title = f"safetensors and onnxruntime with external data, cold, {bench.link_name}"
    return Measured("loaders", title, rounds, findings)


def scattered(bench: Bench) -> Measured:
    """Read 4 KiB at random by pread, cold, beside raw GETs of 4 KiB; at loopback speed and with 30 ms."""
    source = bench.big_file()
    pages = source.stat().st_size // RANDOM_BYTES
    chance = random.Random(7)
    findings: list[Finding] = []
    all_rounds: dict[str, Sequence[Sample]] = {}
    for name, link in (("loopback", LOOPBACK), ("cloud", CLOUD)):
        count = bench.scale.scattered if link is LOOPBACK else bench.scale.scattered // 4
        offsets = [page * RANDOM_BYTES for page in chance.sample(range(pages), count)]
        bench.store.shape(link)
        rounds, ratios = _scattered(bench, name, source, offsets)
        all_rounds |= rounds
        fetched = median_of(rounds[f"modelfs, {name}"], lambda each: (each.fetched_bytes or 0) / each.bytes)
        findings += [
            Finding(f"{name}: bytes fetched for each byte read", fetched or 0.0, "", 32, "at most"),
            Finding(f"{name}: median time of a read to a raw GET", ratios, "x", 1.3, "at most"),
        ]
    bench.store.shape(bench.link)
    return Measured("random", "4 KiB by pread with FADV_RANDOM, cold, one at a time", all_rounds, findings)


def _scattered(bench: Bench, link: str, source: Path, offsets: list[int]) -> tuple[dict[str, Sequence[Sample]], float]:
    medians: dict[str, list[float]] = {"raw": [], "modelfs": []}
    pieces = [[offset, RANDOM_BYTES] for offset in offsets]

    def raw() -> dict[str, Sample]:
        told = {"url": bench.store.url, "key": KEY, "offsets": offsets, "length": RANDOM_BYTES}
        timed = run(Job("raw_scattered", told))
        medians["raw"].append(percentile(timed.each[0]["took_s"], 0.5))
        return {f"raw, {link}": Sample(timed.seconds, timed.bytes)}

    def mount() -> dict[str, Sample]:
        with bench.modelfs("big")() as mounted:
            path = str(mounted.path / NAME)
            bench.store.reset()
            mounted.daemon.reset()
            timed = run(Job("scattered", {"path": path, "offsets": offsets, "length": RANDOM_BYTES}))
            sample = Sample(
                timed.seconds,
                timed.bytes,
                mounted.daemon.cpu_s(),
                mounted.daemon.peak_bytes(),
                bench.store.sent().bytes,
            )
            medians["modelfs"].append(percentile(timed.each[0]["took_s"], 0.5))
            run(Job("compare", {"path": path, "source": str(source), "pieces": pieces}))
        return {f"modelfs, {link}": sample}

    rounds = bench.take_turns({"raw": raw, "modelfs": mount})
    return dict(rounds), median_ratio(medians["modelfs"], medians["raw"])


ROWS = {
    "sequential": sequential,
    "sequential-4": sequential_4,
    "shared-4": shared_4,
    "cloud": cloud,
    "again": again,
    "mmap": mapped,
    "loaders": loaders,
    "random": scattered,
}
