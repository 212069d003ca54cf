"""``modelfs cache`` and ``warm`` on the command line: what is kept on a disk, and what becomes of it.

Law: as ``cli``: parse, call, print, exit status. ``cache`` needs neither a mount nor a store.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelfs import disk_places, location
from modelfs.cli_options import load, with_settings
from modelfs.config import Config
from modelfs.errors import UsageError

if TYPE_CHECKING:
    from modelfs.disk_inventory import Inventory

cache = typer.Typer(
    no_args_is_help=False,
    help="List, pin, throw away and verify what is kept on a disk, beside any number of mounts.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigFile = Annotated[str | None, typer.Option("--config", metavar="FILE", help="The configuration file.")]
CacheDir = Annotated[
    str | None,
    typer.Option("--cache-dir", metavar="PATH", show_default=False, help="Where the cache is, as for a mount."),
]
Below = Annotated[str | None, typer.Argument(metavar="URL[/MODEL[/VERSION]]", show_default=False)]


@cache.callback(invoke_without_command=True)
def what(context: typer.Context) -> None:
    """Say which commands there are where none is given."""
    if context.invoked_subcommand is None:
        raise UsageError("no command is given. 'modelfs cache --help' lists them.")


@cache.command("ls")
def ls(below: Below = None, *, as_json: AsJson = False, cache_dir: CacheDir = None, config: ConfigFile = None) -> None:
    """List what is kept, by model and version.

    \b
    Examples:
      modelfs cache ls
      modelfs cache ls s3://bucket/models/resnet --json
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import show_cache  # noqa: PLC0415  only when it is needed

    with _opened(cache_dir, config) as (inventory, _):
        show_cache.shares([] if inventory is None else inventory.shares(_name(below)), as_json=as_json)


@cache.command("df")
def df(*, as_json: AsJson = False, cache_dir: CacheDir = None, config: ConfigFile = None) -> None:
    """Show how much is kept, how much may be, and how much room the disk has.

    \b
    Examples:
      modelfs cache df
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import show_cache  # noqa: PLC0415  only when it is needed

    with _opened(cache_dir, config) as (inventory, settings):
        show_cache.space(None if inventory is None else inventory.space(settings.cache_size_bytes), as_json=as_json)


@cache.command("pin")
def pin(below: Below = None, *, as_json: AsJson = False, cache_dir: CacheDir = None, config: ConfigFile = None) -> None:
    """Have a model or version never thrown away for want of room, also what of it is fetched later.

    It counts in the size of the cache: what does not fit beside it is not kept.

    \b
    Examples:
      modelfs cache pin s3://bucket/models/resnet
    """  # noqa: D301  the escape keeps the examples' lines apart
    _pin(below, is_on=True, as_json=as_json, cache_dir=cache_dir, config=config)


@cache.command("unpin")
def unpin(
    below: Below = None, *, as_json: AsJson = False, cache_dir: CacheDir = None, config: ConfigFile = None
) -> None:
    """End what pin began, for the same name.

    Exit status 2: that name is not pinned.

    \b
    Examples:
      modelfs cache unpin s3://bucket/models/resnet
    """  # noqa: D301  the escape keeps the examples' lines apart
    _pin(below, is_on=False, as_json=as_json, cache_dir=cache_dir, config=config)


def _pin(below: str | None, *, is_on: bool, as_json: bool, cache_dir: str | None, config: str | None) -> None:
    from modelfs import show_cache  # noqa: PLC0415  only when it is needed

    name = _name(_given(below, "pin" if is_on else "unpin"))
    assert name is not None  # noqa: S101  it is given
    with _opened(cache_dir, config) as (inventory, settings):
        if inventory is None:
            raise UsageError(f"there is no cache yet at {_root(settings)}. It begins with the first mount.")
        if not is_on and not inventory.is_pinned(name):
            raise UsageError(f"{name} is not pinned. 'modelfs cache df' lists what is.")
        show_cache.pinned(name, inventory.pin(name, is_on=is_on), is_on=is_on, as_json=as_json)


@cache.command("evict")
def evict(
    below: Below = None, *, as_json: AsJson = False, cache_dir: CacheDir = None, config: ConfigFile = None
) -> None:
    """Throw away what is kept of a repository, model or version, but what is pinned or being read.

    Exit status 0: done; 1: some of it is in use, and stays.

    \b
    Examples:
      modelfs cache evict s3://bucket/models/resnet/3
    """  # noqa: D301  the escape keeps the examples' lines apart
    _throw_away(_name(_given(below, "evict")), pinned=False, as_json=as_json, cache_dir=cache_dir, config=config)


@cache.command("clear")
def clear(
    *,
    pinned: Annotated[bool, typer.Option("--pinned", help="What is pinned too.")] = False,
    as_json: AsJson = False,
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
) -> None:
    """Throw away all that is kept, but what is pinned or being read.

    Exit status 0: done; 1: some of it is in use, and stays.

    \b
    Examples:
      modelfs cache clear
      modelfs cache clear --pinned
    """  # noqa: D301  the escape keeps the examples' lines apart
    _throw_away(None, pinned=pinned, as_json=as_json, cache_dir=cache_dir, config=config)


def _throw_away(name: str | None, *, pinned: bool, as_json: bool, cache_dir: str | None, config: str | None) -> None:
    from modelfs import show_cache  # noqa: PLC0415  only when it is needed
    from modelfs.disk_inventory import Thrown  # noqa: PLC0415  only when it is needed

    with _opened(cache_dir, config) as (inventory, _):
        done = Thrown(0, 0, 0) if inventory is None else inventory.throw_away(name, pinned=pinned)
    show_cache.thrown(done, as_json=as_json)
    raise typer.Exit(1 if done.in_use else 0)


@cache.command("verify")
def verify(
    below: Below = None, *, as_json: AsJson = False, cache_dir: CacheDir = None, config: ConfigFile = None
) -> None:
    """Read what is kept and compare it with its checksums; throw away what is damaged.

    A mount does that with each block that it reads. This tells whether the disk can be relied on.

    Exit status 0: all is right; 1: something was damaged.

    \b
    Examples:
      modelfs cache verify
      modelfs cache verify s3://bucket/models/resnet --json
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import show_cache  # noqa: PLC0415  only when it is needed
    from modelfs.disk_inventory import Verified  # noqa: PLC0415  only when it is needed

    with _opened(cache_dir, config) as (inventory, _):
        name = _name(below)
        if inventory is None:
            done = Verified(0, 0, [])
        else:
            total_bytes = sum(share.kept_bytes for share in inventory.shares(name))
            with show_cache.progress("verifying", total_bytes) as on_bytes:
                done = inventory.verify(on_bytes, name)
    show_cache.verified(done, as_json=as_json)
    raise typer.Exit(1 if done.damaged else 0)


@with_settings()
def warm(
    target: Annotated[str | None, typer.Argument(metavar="URL|MOUNTPOINT", show_default=False)] = None,
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL[/VERSION]]...", show_default=False)] = None,
    *,
    all_versions: Annotated[
        bool, typer.Option("--all-versions", help="Not only what each model's version policy selects.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Fetch nothing: tell how much is there.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
    **flags: Any,
) -> None:
    """Put models on this machine's disk before a Triton asks for them.

    Of a URL into the cache that a mount of it has, with the same settings and keys; or through a mount.

    Exit status 0: all is there; 1: some is not, or failed; 2: it cannot be done.

    \b
    Examples:
      modelfs warm s3://bucket/models
      modelfs warm s3://bucket/models resnet bert/3 --cache-dir /mnt/nvme/cache
      modelfs warm /mnt/models --check --json
    """  # noqa: D301  the escape keeps the examples' lines apart
    from modelfs import mounting, runtime, show_cache, warming, warming_mount  # noqa: PLC0415  only when it is needed

    settings = load(flags, config)
    if not target:
        raise UsageError("nothing is named. Write 'modelfs warm URL' or 'modelfs warm MOUNTPOINT'.")
    progress = partial(show_cache.progress, "warming")
    how: dict[str, bool] = {"all_versions": all_versions, "only_look": check}
    if "://" in target:
        done = warming.warm_url(target, settings, models or [], progress, **how)
    else:
        root = runtime.runtime_root(settings.runtime_dir)
        resolved = mounting.resolve_mount_point(target)
        done = warming_mount.warm_mount(root, resolved, models or [], progress, **how)
    show_cache.warmth(done, as_json=as_json)
    raise typer.Exit(0 if done.is_whole else 1)


@contextmanager
def _opened(cache_dir: str | None, config: str | None) -> "Iterator[tuple[Inventory | None, Config]]":
    """Open the cache that a mount with these settings would have; None where nothing is kept yet."""
    import sqlite3  # noqa: PLC0415  which other commands do without

    from modelfs import disk_inventory  # noqa: PLC0415  as above
    from modelfs.disk_home import RefusedError  # noqa: PLC0415  as above

    settings = load({"cache_dir": cache_dir}, config)
    root = _root(settings)
    if not disk_inventory.exists(root):
        yield None, settings
        return
    try:
        inventory = disk_inventory.Inventory(root)
        try:
            yield inventory, settings
        finally:
            inventory.close()
    except RefusedError as error:
        raise UsageError(str(error)) from error
    except (OSError, sqlite3.Error) as error:
        raise UsageError(f"the cache at {root} cannot be used: {error}. Try again, or look at its disk.") from error


def _root(settings: Config) -> str:
    root = disk_places.cache_root(settings.cache_dir)
    if root is None:
        raise UsageError("in this container nothing is kept, unless --cache-dir names a volume.")
    return root


def _given(below: str | None, command: str) -> str:
    if not below:
        raise UsageError(f"nothing is named. Write 'modelfs cache {command} URL/MODEL[/VERSION]'.")
    return below


def _name(below: str | None) -> str | None:
    """Return what a URL is called in the cache."""
    return None if below is None else location.parse(below).display.rstrip("/")
