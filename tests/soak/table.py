"""Tables of what a run has seen, as text for a terminal and for a report."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown, its columns as wide as what stands in them.

    >>> print(table(["store", "s"], [["S3", 12]]))
    | store | s  |
    |-------|----|
    | S3    | 12 |
    """
    cells = [[str(each) for each in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
