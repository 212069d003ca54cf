"""What was measured, as values, and how it is told: one table for each row, one line for each bar.

Law: a figure of several rounds is their median; a ratio is the median of the rounds' own ratios, each of two samples
that stood side by side. So what disturbs a round disturbs both.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

_MB, _MIB = 1e6, 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One subject's share of one round. What a subject does not have (a raw store has no daemon) is None."""

    seconds: float
    bytes: int = 0
    cpu_s: float | None = None
    peak_bytes: int | None = None
    fetched_bytes: int | None = None

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds


Rounds = Mapping[str, Sequence[Sample]]
"""Each subject's samples, in the order of the rounds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure. With a ``bar`` it must be at least, or at most, that."""

    what: str
    value: float
    unit: str = ""
    bar: float | None = None
    sense: Literal["at least", "at most"] = "at least"

    @property
    def holds(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.sense == "at least" else self.value <= self.bar


@dataclass(frozen=True, slots=True)
class Measured:
    """One row: what its subjects did, and what follows; or why it could not be measured."""

    row: str
    title: str
    rounds: Rounds
    findings: Sequence[Finding]
    trouble: str = ""


def median_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the median of the pairs' ratios.

    >>> median_ratio([2.0, 9.0, 3.0], [1.0, 3.0, 3.0])
    2.0
    """
    return statistics.median(left / right for left, right in zip(one, other, strict=True))


def rate_ratio(rounds: Rounds, subject: str, other: str) -> float:
    """Return how many times as fast as ``other`` a subject was, by bytes a second."""
    return median_ratio([each.rate for each in rounds[subject]], [each.rate for each in rounds[other]])


def time_ratio(rounds: Rounds, subject: str, other: str) -> float:
    """Return how many times as long as ``other`` a subject took."""
    return median_ratio([each.seconds for each in rounds[subject]], [each.seconds for each in rounds[other]])


def median_of(samples: Sequence[Sample], value: Callable[[Sample], float | None]) -> float | None:
    """Return the median of one figure over the rounds; None where there is none."""
    found = [number for each in samples if (number := value(each)) is not None]
    return statistics.median(found) if found else None


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of all lie.

    >>> percentile([5.0, 1.0, 3.0, 2.0, 4.0], 0.5), percentile(range(100), 0.99)
    (3.0, 99)
    """
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def rows_of(measured: Measured) -> list[dict[str, Any]]:
    """Return one dictionary of figures for each subject, None where it has none."""
    first = next(iter(measured.rounds), None)
    rows = []
    for subject, samples in measured.rounds.items():
        carries = all(each.bytes for each in samples)
        rows.append(
            {
                "subject": subject,
                "seconds": median_of(samples, lambda each: each.seconds),
                "mb_per_s": median_of(samples, lambda each: each.rate / _MB) if carries else None,
                "to_first": rate_ratio(measured.rounds, subject, str(first)) if carries else None,
                "cpu_s_per_gb": median_of(
                    samples,
                    lambda each: None if each.cpu_s is None or not each.bytes else each.cpu_s / each.bytes * 1e9,
                ),
                "peak_mib": median_of(
                    samples, lambda each: None if each.peak_bytes is None else each.peak_bytes / _MIB
                ),
                "fetched_per_byte": median_of(
                    samples,
                    lambda each: (
                        None if each.fetched_bytes is None or not each.bytes else each.fetched_bytes / each.bytes
                    ),
                ),
            }
        )
    return rows


HEADINGS = ("subject", "s", "MB/s", "to first", "CPU s/GB", "peak MiB", "fetched")
_FORMS = ("{}", "{:.3f}", "{:.0f}", "{:.2f}", "{:.2f}", "{:.0f}", "{:.3f}")


def text_of(measured: Measured) -> str:
    """Return a row as text, in columns."""
    lines = [f"\n== {measured.row}: {measured.title}"]
    if measured.rounds:
        cells = [list(HEADINGS)]
        cells.extend(
            ["-" if value is None else form.format(value) for form, value in zip(_FORMS, row.values(), strict=True)]
            for row in rows_of(measured)
        )
        widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
        lines += [
            "  ".join(
                [
                    line[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
                ]
            )
            for line in cells
        ]
    lines += [f"   {_sentence(finding)}" for finding in measured.findings]
    lines += [f"   NOT MEASURED: {measured.trouble}"] if measured.trouble else []
    return "\n".join(lines)


def _sentence(finding: Finding) -> str:
    told = f"{finding.what}: {finding.value:.3g} {finding.unit}".rstrip()
    if finding.bar is None:
        return told
    return f"{told} ({finding.sense} {finding.bar:g}: {'HOLDS' if finding.holds else 'FAILS'})"


def as_json(measured: Measured) -> dict[str, Any]:
    """Return a row for programs: each sample, the medians, the findings with whether they hold."""
    return {
        "row": measured.row,
        "title": measured.title,
        "samples": {subject: [asdict(each) for each in samples] for subject, samples in measured.rounds.items()},
        "medians": rows_of(measured),
        "trouble": measured.trouble,
        "findings": [{**asdict(finding), "holds": finding.holds} for finding in measured.findings],
    }
