"""Rows on trees: many files, small files, the start of a mount, metadata during a download."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from bench import sources
from bench.bench import Bench
from bench.children import Job, run
from bench.rows_read import shares
from bench.store import Link
from bench.table import Finding, Measured, Sample, percentile

FAR = Link(latency_s=0.030)
_SECONDS = "s"


def files(bench: Bench) -> Measured:
    """Mount and list a large repository, beside obstore's own listing; then walk it with stat."""
    _many(bench)
    took: dict[str, list[float]] = {"list": [], "mount and list": [], "walk": []}

    def listing() -> dict[str, Sample]:
        timed = run(Job("raw_listing", {"url": bench.store.url, "prefix": "many/"}))
        took["list"].append(timed.seconds)
        return {"obstore's listing": Sample(timed.seconds)}

    def mount() -> dict[str, Sample]:
        with bench.modelfs("many")() as mounted:
            mounted.daemon.reset()
            root = str(mounted.path)
            names = run(Job("walk", {"root": root, "with_stat": False}))
            walked = run(Job("walk", {"root": root, "with_stat": True}))
            cpu_s, peak = mounted.daemon.cpu_s(), mounted.daemon.peak_bytes()
        took["mount and list"].append(mounted.took_s + names.seconds)
        took["walk"].append(walked.seconds)
        return {
            "modelfs, mount": Sample(mounted.took_s),
            "modelfs, names": Sample(names.seconds),
            "modelfs, walk with stat": Sample(walked.seconds, 0, cpu_s, peak),
        }

    rounds = bench.take_turns({"list": listing, "modelfs": mount})
    beyond = statistics.median(
        both - 1.3 * alone for both, alone in zip(took["mount and list"], took["list"], strict=True)
    )
    findings = [
        Finding("mount and list, beyond 1.3 x obstore's listing", beyond, _SECONDS, 0.3, "at most"),
        Finding("walk with stat", statistics.median(took["walk"]), _SECONDS, 0.5, "at most"),
    ]
    return Measured("files", f"{bench.scale.files} files, {bench.link_name}", rounds, findings)


def _many(bench: Bench) -> Path:
    """Have the store serve the many files, below ``many``."""
    folder = bench.folder / "many"
    if not folder.exists():
        sources.many_files(folder, folders=100, files=bench.scale.files // 100, size=16)
        bench.store.put(sources.keys_below(folder, "many"))
    return folder


def small_files(bench: Bench) -> Measured:
    """Read small files of ten folders, one after another, cold, 30 ms away."""
    folder = bench.folder / "small"
    if not folder.exists():
        sources.many_files(folder, folders=10, files=bench.scale.small_files // 10, size=8192)
        bench.store.put(sources.keys_below(folder, "small"))
    bench.store.shape(FAR)
    subjects = {
        name: bench.cold(
            name,
            mounter,
            lambda path: [Job("whole_files", {"root": str(path)})],
            check=lambda path: Job("compare_trees", {"root": str(path), "source": str(folder)}),
        )
        for name, mounter in bench.mounters("small").items()
    }
    rounds = bench.take_turns(subjects)
    bench.store.shape(bench.link)
    rates = [bench.scale.small_files / each.seconds for each in rounds["modelfs"]]
    findings = [Finding("files read", statistics.median(rates), "files/s", 500)]
    return Measured("small-files", "8 KiB files in ten folders, one reader, cold, 30 ms", rounds, findings)


def start(bench: Bench) -> Measured:
    """From the command to a mount that answers, and what it holds when idle."""
    bench.big_file()
    resident: dict[str, list[float]] = {"rss": [], "pss": []}

    def mount() -> dict[str, Sample]:
        with bench.modelfs("big")() as mounted:
            resident["rss"].append(mounted.daemon.resident_bytes() / 2**20)
            resident["pss"].append(mounted.daemon.proportional_bytes() / 2**20)
            return {"modelfs": Sample(mounted.took_s)}

    subjects = {"modelfs": mount}
    for name, mounter in bench.mounters("big").items():
        if name != "modelfs":

            def peer(name: str = name, mounter: object = mounter) -> dict[str, Sample]:
                with mounter() as mounted:  # type: ignore[operator]
                    return {name: Sample(mounted.took_s)}

            subjects[name] = peer
    rounds = bench.take_turns(subjects, rounds=max(bench.rounds, 5))
    findings = [
        Finding("command to answering", _median_seconds(rounds["modelfs"]), _SECONDS, 1.5, "at most"),
        Finding("idle, resident in all processes", statistics.median(resident["rss"]), "MiB", 90, "at most"),
        Finding("the same, shared pages counted once", statistics.median(resident["pss"]), "MiB"),
    ]
    return Measured("start", f"start of a mount, {bench.link_name}", rounds, findings)


def stat(bench: Bench) -> Measured:
    """Stat files that the kernel has not met, during a download through the same mount."""
    source = bench.big_file()
    many = _many(bench)
    names = [str(path.relative_to(many.parent)) for path in sorted(many.rglob("part-*"))[:500]]
    bench.store.put(sources.keys_below(many, "stat/many") | {"stat/model.safetensors": source})
    found: dict[str, list[float]] = {"modelfs": [], "--look 0": [], "overslept": []}

    def mount(name: str, *options: str) -> dict[str, Sample]:
        with bench.modelfs("stat", *options)() as mounted:
            reading = shares(source.stat().st_size, 1)(mounted.path)
            told = {"root": str(mounted.path), "names": names, "pause_s": 0.002}
            timed = run(*reading, Job("stats", told))
            # only the stats that began while the reader was at it
            reader, looker = timed.each
            during = _while(looker["took_s"], 0.002, looker["began_s"], reader["ended_s"])
            found[name].extend(during)
            found["overslept"].extend(looker["overslept_s"][: len(during)])
            return {name: Sample(reader["ended_s"] - reader["began_s"], source.stat().st_size)}

    # a lookup in the root waits for a listing of that model once a second: what the rest wait is the download's doing
    rounds = bench.take_turns(
        {"modelfs": lambda: mount("modelfs"), "--look 0": lambda: mount("--look 0", "--look", "0")}
    )
    findings = [
        Finding("stats made during downloads", len(found["modelfs"])),
        Finding("median", percentile(found["modelfs"], 0.5) * 1e3, "ms"),
        Finding("99th percentile", percentile(found["modelfs"], 0.99) * 1e3, "ms", 5, "at most"),
        Finding("99th percentile without looks at the store", percentile(found["--look 0"], 0.99) * 1e3, "ms"),
        Finding("99th percentile of what a pause took too long", percentile(found["overslept"], 0.99) * 1e3, "ms"),
    ]
    return Measured("stat", f"stat during a download, {bench.link_name}", rounds, findings)


def _while(took_s: Sequence[float], pause_s: float, began_s: float, until_s: float) -> list[float]:
    """Return the durations of what began before ``until_s``.

    >>> _while([1.0, 1.0, 1.0], 0.5, 10.0, 12.0)
    [1.0, 1.0]
    """
    kept, now_s = [], began_s
    for each in took_s:
        if now_s >= until_s:
            break
        kept.append(each)
        now_s += each + pause_s
    return kept


def _median_seconds(samples: Sequence[Sample]) -> float:
    return statistics.median(each.seconds for each in samples)


ROWS = {"files": files, "small-files": small_files, "start": start, "stat": stat}
