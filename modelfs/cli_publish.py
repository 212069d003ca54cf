"""``modelfs lint``, ``seal`` and ``refresh`` on the command line: what belongs to publishing a model.

Law: as ``cli``: parse, call, print, exit status.
"""

import os
from typing import Annotated, Any

import typer

from modelfs.cli_options import load, with_settings
from modelfs.errors import UsageError

_LEAST_S, _MOST_S = 1.0, 3600.0

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigFile = Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")]


@with_settings(only_for_listing=True)
def lint(
    target: Annotated[str | None, typer.Argument(metavar="URL|DIR", envvar="MODELFS_URL", show_envvar=False)] = None,
    *,
    as_json: AsJson = False,
    config: ConfigFile = None,
    **flags: Any,
) -> None:
    """Tell what Triton would trip over in a repository: names, configurations, files that are missing or empty.

    Lists it once, and reads the configurations and the indexes of shards.

    Exit status 0: nothing was found; 1: something was; 2: it cannot be looked at.

    \b
    Examples:
      modelfs lint s3://bucket/models
      modelfs lint ./models --json
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import linting, show  # noqa: PLC0415  only this command needs them

    settings = load(flags, config)
    if not target:
        raise UsageError("nothing to lint is given. Write 'modelfs lint URL' or 'modelfs lint DIR'.")
    with show.waiting(f"looking at {_shown(target)}"):
        found = linting.lint_repository(_resolved(target), settings)
    show.findings(found, as_json=as_json)
    raise typer.Exit(1 if found else 0)


@with_settings(only_for_listing=True)
def seal(
    target: Annotated[str | None, typer.Argument(metavar="URL/MODEL[/VERSION]")] = None,
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="DIR", help="The model's folder that was uploaded, or the version's.", show_default=False
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all bytes back, and compare them with those of --from.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
    **flags: Any,
) -> None:
    """Say that a version is uploaded as a whole, so that a mount shows it at once.

    Looks whether all files are there that its configuration and format ask for, and whether they are those of --from;
    lists again a second later; then writes VERSION/.modelfs-seal.json, and nothing else. Without a VERSION: all that
    the model has. A last folder that is a number is taken for a version.

    Exit status 0: all is sealed; 1: something is wrong, and is told; 2: it cannot be looked at or written.

    \b
    Examples:
      modelfs seal s3://bucket/models/resnet/3
      modelfs seal gs://bucket/models/resnet/3 --from ./resnet/3 --verify
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import sealing, show  # noqa: PLC0415  only this command needs them

    settings = load(flags, config)
    if not target:
        raise UsageError("no model is given. Write 'modelfs seal URL/MODEL' or 'modelfs seal URL/MODEL/VERSION'.")
    if source is not None:
        source = os.path.abspath(source)  # noqa: PTH100  no I/O, and ".." as the shell has it
    with show.waiting(f"looking at {_shown(target)}"):
        report = sealing.seal(_resolved(target), settings, source=source, verify=verify, pause_s=sealing.PAUSE_S)
    show.sealed(report, as_json=as_json)
    is_well = report.outcomes and all(outcome.state != "refused" for outcome in report.outcomes)
    raise typer.Exit(0 if is_well else 1)


def refresh(
    mountpoint: Annotated[str | None, typer.Argument(metavar="MOUNTPOINT")] = None,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="List this model alone.")] = None,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when the repository was listed, and tell what changed.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long --wait waits.")] = 60.0,
    as_json: AsJson = False,
    runtime_dir: Annotated[
        str | None,
        typer.Option("--runtime-dir", metavar="PATH", show_default=False, help="Where mounts are recorded."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Have a mount list its repository, or one model of it, now, not when its next refresh is due.

    What is new and whole is shown then. What has vanished goes when the next regular listing agrees.

    Exit status 0: done; 1: it could not be listed, or not in time, or there is no such model; 2: nothing is mounted
    there.

    \b
    Examples:
      modelfs refresh /mnt/models
      modelfs refresh /mnt/models resnet --wait
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import mounting, refreshing, runtime, show  # noqa: PLC0415  only this command needs them

    if not mountpoint:
        raise UsageError("no mount point is given. Write 'modelfs refresh MOUNTPOINT'.")
    if not _LEAST_S <= timeout <= _MOST_S:
        raise UsageError(f"--timeout is '{timeout:g}'. It must be a number of seconds from 1 to 3600.")
    root = runtime.runtime_root(load({"runtime_dir": runtime_dir}, config).runtime_dir)
    resolved = mounting.resolve_mount_point(mountpoint)
    done = refreshing.refresh(root, resolved, within_s=timeout if wait else None, model=model)
    show.refreshed(resolved, done, as_json=as_json)


def _resolved(target: str) -> str:
    """Return a path as an absolute one; a URL as it is."""
    return target if "://" in target else os.path.abspath(target)  # noqa: PTH100  no I/O


def _shown(target: str) -> str:
    return target.partition("?")[0].rpartition("@")[2]
