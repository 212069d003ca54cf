"""``modelfs bench`` on the command line: its arguments, and what follows from them.

Law: as ``cli``: parse, call, print, exit status.
"""

from typing import Annotated, Any

import typer

from modelfs.cli_options import load, with_settings
from modelfs.config_values import parse_bytes
from modelfs.errors import UsageError

_LEAST_BYTES = 1 << 20
_LEAST_S, _MOST_S = 5.0, 3600.0


@with_settings()
def bench(
    target: Annotated[
        str | None, typer.Argument(metavar="URL|MOUNTPOINT", envvar="MODELFS_URL", show_envvar=False)
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    size: Annotated[str, typer.Option("--size", metavar="BYTES", help="What one pass reads at most.")] = "256M",
    seconds: Annotated[float, typer.Option("--seconds", metavar="N", help="What all passes may take together.")] = 60.0,
    config: Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")] = None,
    **flags: Any,
) -> None:
    """Measure how fast a store answers, and how much of that arrives through a mount.

    Of a URL: the store with 1 to 64 reads at once, then a mount of it, made for this and taken away. Of a mount point:
    that mount. Reads the largest objects, --size of them in each of nine passes, and pays for that where reads cost.

    Exit status 0: all was measured; 1: something could not be; 2: the store cannot be listed.

    \b
    Examples:
      modelfs bench s3://bucket/models
      modelfs bench --size 1G --memory 512M s3://bucket/models
      modelfs bench /mnt/models --json
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import bench as benches  # noqa: PLC0415  only this command needs them
    from modelfs import show  # noqa: PLC0415  only when it is needed

    settings = load(flags, config)
    if not target:
        raise UsageError("nothing to measure is given. Write 'modelfs bench URL' or 'modelfs bench MOUNTPOINT'.")
    limits = benches.Limits(_bytes(size), _within(seconds))
    with show.waiting(f"measuring {target.partition('?')[0].rpartition('@')[2]}"):
        figures = benches.bench(target, settings, limits)
    show.figures(figures, as_json=as_json)
    raise typer.Exit(benches.exit_status(figures))


def _bytes(text: str) -> int:
    found = parse_bytes(text)
    if not isinstance(found, int) or found < _LEAST_BYTES:
        raise UsageError(f"--size is {text!r}. It must be a size of at least 1M, such as 256M or 2G.")
    return found


def _within(seconds: float) -> float:
    if not _LEAST_S <= seconds <= _MOST_S:
        raise UsageError(f"--seconds is '{seconds:g}'. It must be a number of seconds from 5 to 3600.")
    return seconds
