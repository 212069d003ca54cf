"""The command line: parse, call, print, exit status.

Law: what a person did wrong is one line on standard error that says what is wrong and what to do, with exit status 2;
never a traceback. Modules that a command does not need are imported inside it: ``modelfs status`` is called by probes
every few seconds, and trio and a cloud's library would cost it most of a second.
"""

import io
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from modelfs import __version__, sources
from modelfs.cli_bench import bench
from modelfs.cli_cache import cache, warm
from modelfs.cli_options import as_words, with_settings
from modelfs.cli_options import load as _load
from modelfs.cli_publish import lint, refresh, seal
from modelfs.errors import ModelfsError, UsageError

app = typer.Typer(
    name="modelfs",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str | None, typer.Argument(metavar="URL", envvar="MODELFS_URL", show_envvar=False, help="The repository's URL.")
]
Mountpoint = Annotated[
    str | None,
    typer.Argument(metavar="MOUNTPOINT", envvar="MODELFS_MOUNTPOINT", show_envvar=False, help="An empty directory."),
]
RuntimeDir = Annotated[
    str | None,
    typer.Option("--runtime-dir", metavar="PATH", show_default=False, help="Where mounts are recorded."),
]
ConfigFile = Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")]


def main() -> None:
    """Run the command line and exit."""
    _prepare_streams()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command that ``arguments`` name, and return the exit status."""
    try:
        status = typer.main.get_command(app).main(args=arguments, prog_name="modelfs", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        _complain(getattr(error, "format_message", error.__str__)(), "'modelfs --help' tells more")
        return 2
    except ModelfsError as error:
        _complain(str(error))
        return int(getattr(error, "exit_status", 2))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        return 141
    except Exception as error:  # noqa: BLE001  a root: nobody should meet a traceback
        return _report_unexpected(error)
    return int(status or 0)


@app.callback(invoke_without_command=True)
def modelfs(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Show a model repository in S3, Google Cloud Storage, Azure or a folder as a local, read-only tree.

    \b
    Examples:
      modelfs mount s3://bucket/models /mnt/models
      modelfs status
      modelfs unmount /mnt/models
    """  # noqa: D301  the escape keeps the examples' lines apart
    if version:
        typer.echo(f"modelfs {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise UsageError("no command is given. 'modelfs --help' lists them.")


@app.command()
@with_settings()
def mount(
    url: Url = None,
    mountpoint: Mountpoint = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Mount each [[mounts]] of the configuration file.")] = False,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", help="Stay, and log to standard error. The default as PID 1 or under systemd."),
    ] = False,
    config: ConfigFile = None,
    **flags: Any,
) -> None:
    """Mount a repository, and return once it answers.

    With a mount point alone: what the configuration file has for it in [[mounts]].

    \b
    Examples:
      modelfs mount s3://bucket/models /mnt/models
      modelfs mount s3://http://minio:9000/bucket/models /mnt/models --refresh 5
      modelfs mount /srv/models /mnt/models --foreground
      modelfs mount --all
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import launch  # noqa: PLC0415  only this command needs it

    stays = foreground or launch.must_stay_in_foreground()
    if every:
        if url or mountpoint:
            raise UsageError(
                "--all mounts what the configuration file lists, and a URL or mount point is given too (here, in"
                " MODELFS_URL or in MODELFS_MOUNTPOINT). Leave one of them out."
            )
        raise typer.Exit(_mount_all(flags, config, foreground=stays))
    plan = _plan(url, mountpoint, flags, config, foreground=stays)
    if stays:
        launch.become_supervisor(plan)
    from modelfs.show import waiting  # noqa: PLC0415  rich is for those who wait

    with waiting(f"mounting {plan['source']} at {plan['mountpoint']}"):
        launch.mount_in_background(plan)
    typer.echo(f"{plan['source']} is mounted at {plan['mountpoint']}")


def _plan(
    url: str | None, mountpoint: str | None, flags: dict[str, Any], config: str | None, *, foreground: bool
) -> dict[str, Any]:
    """Return the plan of a mount that is named by URL and mount point, or by the mount point of an entry alone."""
    from modelfs import launch, several  # noqa: PLC0415  only mount needs them

    settings = _load(flags, config)
    if url and mountpoint:
        return launch.plan_mount(url, mountpoint, settings, foreground=foreground)
    alone = mountpoint or url
    if not alone:
        raise UsageError("no URL is given. Write 'modelfs mount URL MOUNTPOINT', or set MODELFS_URL.")
    if "://" not in alone:
        entries = sources.load_mounts(flags={**flags, "config": config}, environment=os.environ)
        plan = several.plan_one(entries, alone, foreground=foreground)
        if plan is not None:
            return plan
    missing, variable = ("URL", "MODELFS_URL") if mountpoint else ("mount point", "MODELFS_MOUNTPOINT")
    raise UsageError(
        f"no {missing} is given. Write 'modelfs mount URL MOUNTPOINT', set {variable}, or name the mountpoint of a"
        " [[mounts]] entry."
    )


def _mount_all(flags: dict[str, Any], config: str | None, *, foreground: bool) -> int:
    """Mount all entries of the configuration file, tell of each, and return the exit status of the worst."""
    from modelfs import launch, several, show  # noqa: PLC0415  only mount needs them

    settings = _load(flags, config)
    entries = sources.load_mounts(flags={**flags, "config": config}, environment=os.environ)
    if not entries:
        raise UsageError("the configuration file has no [[mounts]]. Write one for each mount, or name the file.")
    plans = several.plan_all(entries, foreground=foreground)
    several.refuse_taken(entries, plans)
    if foreground:
        launch.become_parent(plans, settings)
    missing = []
    for plan in plans:
        if several.is_mounted(plan):
            typer.echo(show.printable(f"{plan['source']} is already mounted at {plan['mountpoint']}"))
        else:
            missing.append(plan)
    statuses = [0]
    with show.mounting({plan["mountpoint"]: plan["source"] for plan in missing}) as end:

        def tell(plan: dict[str, Any], failure: launch.LaunchFailedError | None) -> None:
            path = plan["mountpoint"]
            if failure is None:
                end(path, lambda: typer.echo(show.printable(f"{plan['source']} is mounted at {path}")))
            else:
                statuses.append(failure.exit_status)
                end(path, lambda: _complain(f"{path}: {failure}"))

        launch.mount_side_by_side(missing, tell)
    return max(statuses)


@app.command()
def unmount(
    mountpoint: Mountpoint = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Unmount all that this user has mounted.")] = False,
    lazy: Annotated[bool, typer.Option("--lazy", help="Detach it although it is in use.")] = False,
    runtime_dir: RuntimeDir = None,
    config: ConfigFile = None,
) -> None:
    """Unmount, and return once nothing is left. Works for a dead mount too.

    Exit status 1: the mount is in use.

    \b
    Examples:
      modelfs unmount /mnt/models
      modelfs unmount --lazy /mnt/models
      modelfs unmount --all
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import mounting, mounts, runtime  # noqa: PLC0415  only these commands need them

    root = runtime.runtime_root(_load({"runtime_dir": runtime_dir}, config).runtime_dir)
    if every:
        if mountpoint:
            raise UsageError("both a mount point (here or in MODELFS_MOUNTPOINT) and --all are given. Leave one out.")
        raise typer.Exit(_unmount_all(root, lazy=lazy))
    if not mountpoint:
        raise UsageError("no mount point is given. Write 'modelfs unmount MOUNTPOINT', or 'modelfs unmount --all'.")
    mounts.unmount(root, mounting.resolve_mount_point(mountpoint), lazy=lazy)


def _unmount_all(root: str, *, lazy: bool) -> int:
    from modelfs import several, show  # noqa: PLC0415  only unmount needs them

    statuses = []

    def tell(path: str, failure: ModelfsError | None) -> None:
        statuses.append(getattr(failure, "exit_status", 2) if failure else 0)
        if failure is None:
            typer.echo(show.printable(f"{path} is unmounted"))
        else:
            _complain(f"{path}: {failure}")

    several.unmount_all(root, lazy=lazy, tell=tell)
    if not statuses:
        typer.echo("nothing is mounted")
    return max(statuses, default=0)


@app.command()
def status(
    mountpoint: Annotated[str | None, typer.Argument(metavar="MOUNTPOINT", help="Only this mount.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    runtime_dir: RuntimeDir = None,
    config: ConfigFile = None,
) -> None:
    """Show what is mounted, from where, since when, and whether it is healthy or why not.

    Exit status 0: all are healthy; 1: one is not, or has crashed; 3: nothing is mounted.

    \b
    Examples:
      modelfs status
      modelfs status --json /mnt/models
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import mounting, mounts, runtime, show  # noqa: PLC0415  only these commands need them

    root = runtime.runtime_root(_load({"runtime_dir": runtime_dir}, config).runtime_dir)
    found = mounts.survey(root)
    if mountpoint is not None:
        resolved = mounting.resolve_mount_point(mountpoint)
        found = [mount for mount in found if mount.mountpoint == resolved]
    show.mounts(found, as_json=as_json)
    if not found:
        raise typer.Exit(3)
    raise typer.Exit(0 if all(mount.state == "healthy" for mount in found) else 1)


@app.command()
@with_settings(only_for_listing=True)
def ls(
    url: Url = None,
    *,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Show what lies in folders too.")] = False,
    long: Annotated[bool, typer.Option("--long", "-l", help="Show sizes and times too.")] = False,
    pending: Annotated[
        bool, typer.Option("--pending", help="Of a mount: what is not shown as it is stored, and why.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    runtime_dir: RuntimeDir = None,
    config: ConfigFile = None,
    **flags: Any,
) -> None:
    """List a repository as a mount would show it, without mounting it; or what a living mount holds back.

    \b
    Examples:
      modelfs ls s3://bucket/models
      modelfs ls --recursive --long s3://bucket/models
      modelfs ls --pending /mnt/models
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import show  # noqa: PLC0415  only these commands need it

    settings = _load({**flags, "runtime_dir": runtime_dir}, config)
    if pending:
        from modelfs import held_back, mounting, runtime  # noqa: PLC0415  only with this option

        if not url or "://" in url:
            raise UsageError("--pending tells of a mount. Write 'modelfs ls --pending MOUNTPOINT'.")
        root = runtime.runtime_root(settings.runtime_dir)
        show.held_back(held_back.held_back(root, mounting.resolve_mount_point(url)), as_json=as_json)
        return
    if not url:
        raise UsageError("no URL is given. Write 'modelfs ls URL', or set MODELFS_URL.")
    from modelfs import listing  # noqa: PLC0415  trio and a store's library

    tree = listing.list_repository(url, settings)
    show.tree(tree, recursive=recursive, long=long, as_json=as_json)


@app.command()
@with_settings(only_for_listing=True)
def check(
    target: Annotated[
        str | None, typer.Argument(metavar="URL|MOUNTPOINT", envvar="MODELFS_URL", show_envvar=False)
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    refresh: Annotated[
        str | None, typer.Option("--refresh", metavar="SECONDS", help="For the cost of listings.", show_default=False)
    ] = None,
    runtime_dir: RuntimeDir = None,
    config: ConfigFile = None,
    **flags: Any,
) -> None:
    """Try what a mount needs, or look at a living mount, and tell each finding in one line.

    Exit status 0: all is well; 1: something is worth a look; 2: a mount would fail, or is in trouble.

    \b
    Examples:
      modelfs check s3://bucket/models
      modelfs check /mnt/models --json
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import check as checks  # noqa: PLC0415  only this command needs them
    from modelfs import show  # noqa: PLC0415  only when it is needed

    flags |= {"refresh_s": refresh, "runtime_dir": runtime_dir}
    settings = _load(flags, config)
    if not target:
        raise UsageError("nothing to check is given. Write 'modelfs check URL' or 'modelfs check MOUNTPOINT'.")
    given = [*as_words(flags), *(["--config", config] if config else [])]
    entries = []
    if "://" not in target:
        entries = sources.load_mounts(flags={**flags, "config": config}, environment=os.environ)
    with show.waiting(f"checking {target.partition('?')[0].rpartition('@')[2]}"):
        lines = checks.check(target, settings, given=given, entries=entries)
    show.check(lines, as_json=as_json)
    raise typer.Exit(checks.exit_status(lines))


app.add_typer(cache, name="cache")
for _command in (bench, warm, lint, seal, refresh):
    app.command()(_command)


def _prepare_streams() -> None:
    """See that descriptors 0 to 2 are open, and that any name can be printed.

    Else what is opened next, a plan or /dev/fuse, takes their numbers, and a child's standard input replaces it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003  the standard library's signature
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  for the life of the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115  for the life of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(message: str, advice: str = "") -> None:
    from modelfs.show import printable  # noqa: PLC0415  rich, which all who succeed can do without

    sentences = [" ".join(part.split()).rstrip(".") for part in (message, advice) if part]
    typer.echo(printable(f"modelfs: {'. '.join(sentences)}."), err=True)


def _report_unexpected(error: Exception) -> int:
    if os.environ.get("MODELFS_DEBUG") == "1":
        traceback.print_exception(error)
        return 1
    descriptor, path = tempfile.mkstemp(prefix="modelfs-error-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        traceback.print_exception(error, file=file)
    _complain(f"unexpected error ({type(error).__name__})", f"Please report it with {Path(path)}")
    return 1


if __name__ == "__main__":
    main()
