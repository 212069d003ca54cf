"""Where the settings of a mount come from, and what is said when one is wrong.

Law: a flag wins over ``MODELFS_*``, that over the user's configuration file, that over the system's, that over the
default. What an entry of ``[[mounts]]`` sets stands between flag and environment: it is said of one mount, and the
environment of all of them. A value that is not as it must be is one UsageError that names where it came from.

pydantic-settings would merge the sources too, and costs 0.2 s of every start.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from modelfs.config import (
    ENVIRONMENT_PREFIX,
    OTHER_VARIABLES,
    Config,
    Option,
    settings,
)
from modelfs.config_values import parse_mode, parse_path, parse_switch
from modelfs.credential_files import check_writers
from modelfs.errors import UsageError

CONFIG_BYTES_MAX = 1024 * 1024


class _Given(NamedTuple):
    value: object
    origin: str


_Settings = dict[str, _Given]  # by field name


class Entry(NamedTuple):
    """One entry of ``[[mounts]]``. ``name`` says which; ``own`` are the fields of ``config`` that it sets itself.

    ``url`` is as it was written, and may hold a secret (a SAS token).
    """

    name: str
    url: str = ""
    mountpoint: str = ""
    config: Config = Config()
    own: frozenset[str] = frozenset()


class _Sources(NamedTuple):
    """All that was said, by who said it. ``mounts`` are the raw entries, and ``mounts_file`` is where they stand."""

    file: _Settings
    environment: _Settings
    flags: _Settings
    mounts: object
    mounts_file: Path | None

    def merged(self, own: Mapping[str, _Given] | None = None) -> _Settings:
        return {**self.file, **self.environment, **(own or {}), **self.flags}


def default_files(environment: Mapping[str, str]) -> Sequence[Path]:
    """Return where configuration files lie when none is named, the weaker one first."""
    home = environment.get("HOME")
    files = [Path("/etc/modelfs/config.toml")]
    return [*files, Path(home) / ".config/modelfs/config.toml"] if home else files


def load(
    *, flags: Mapping[str, object], environment: Mapping[str, str], files: Sequence[Path] | None = None
) -> tuple[Config, list[str]]:
    """Merge all sources into a Config, and return it with warnings.

    ``flags`` are by field name, None where not given; its "config" names a file. ``files`` replaces the default ones,
    which may be absent. Entries of ``[[mounts]]`` are not looked at. Raises UsageError, and nothing else.
    """
    return _validated(_gather(flags, environment, files).merged()), _warnings(environment)


def load_mounts(
    *, flags: Mapping[str, object], environment: Mapping[str, str], files: Sequence[Path] | None = None
) -> list[Entry]:
    """Return the entries of ``[[mounts]]``. Arguments as in ``load``; where two files have entries, the second's count.

    Each entry is right in itself; what they are to one another is not looked at. Raises UsageError, and nothing else.
    """
    sources = _gather(flags, environment, files)
    _validated(sources.merged())  # what holds for all is told without the name of an entry
    if sources.mounts_file is None:
        return []
    if not isinstance(sources.mounts, list) or not all(isinstance(table, dict) for table in sources.mounts):
        raise UsageError(f"mounts in {sources.mounts_file} is no list of tables. Begin each entry with [[mounts]].")
    return [
        _entry(table, f"[[mounts]] number {number} in {sources.mounts_file}", sources)
        for number, table in enumerate(sources.mounts, 1)
    ]


def _gather(flags: Mapping[str, object], environment: Mapping[str, str], files: Sequence[Path] | None) -> _Sources:
    in_files: _Settings = {}
    mounts: object = None
    mounts_file = None
    named = flags.get("config") or environment.get("MODELFS_CONFIG")
    for path in [Path(str(named))] if named else default_files(environment) if files is None else files:
        table = _read(path, must_exist=bool(named))
        if "mounts" in table:
            mounts, mounts_file = table.pop("mounts"), path
        in_files.update(_from_table(table, str(path), f"configuration file {path}"))
    by_flag = {
        setting.field: _Given(flags[setting.field], setting.option.flag)
        for setting in settings()
        if flags.get(setting.field) is not None
    }
    return _Sources(in_files, _from_environment(environment), by_flag, mounts, mounts_file)


def _read(path: Path, *, must_exist: bool) -> dict[str, object]:
    check_writers(path, "the configuration file")  # it says what root mounts where, and which endpoint gets the keys
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX + 1)
        if len(text) > CONFIG_BYTES_MAX:
            raise UsageError(f"configuration file {path} is larger than {CONFIG_BYTES_MAX} bytes. Name the right file.")
        return tomllib.loads(text.decode())
    except (FileNotFoundError, NotADirectoryError) as error:
        if not must_exist:
            return {}
        raise UsageError(f"configuration file {path} does not exist. Name the right file with --config.") from error
    except OSError as error:
        raise UsageError(f"configuration file {path} cannot be read ({error.strerror}). Make it readable.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration file {path} is not TOML: {_one_line(error)}. Correct it.") from error


def _from_table(table: Mapping[str, object], origin: str, where: str, also: Sequence[str] = ("mounts",)) -> _Settings:
    """Return what ``table`` sets; ``also`` are keys that it may have beside the settings."""
    known = {setting.option.name: setting.field for setting in settings()}
    for key in table:
        if key not in known:
            belongs = "It belongs to an entry of [[mounts]]." if key in ("url", "mountpoint") else ""
            raise UsageError(f"{where} has an unknown key {key!r}. {belongs or _suggestion(key, [*known, *also])}")
    return {known[key]: _Given(value, f"{key} in {origin}") for key, value in table.items()}


def _entry(table: Mapping[str, object], name: str, sources: _Sources) -> Entry:
    rest = dict(table)
    url, mountpoint = rest.pop("url", None), rest.pop("mountpoint", None)
    own = _from_table(rest, name, name, also=("url", "mountpoint"))
    if not isinstance(url, str) or not url:
        raise UsageError(f'{name} has no url. Write url = "s3://bucket/path".')  # never the value: it may be a secret
    if not isinstance(mountpoint, str) or not mountpoint.startswith(("/", "~/")) or "\0" in mountpoint:
        raise UsageError(f'{name} has no absolute path as its mountpoint. Write mountpoint = "/mnt/models".')
    if "runtime_dir" in own:
        raise UsageError(f"{name} sets runtime_dir, which holds for all mounts. Write it above the first [[mounts]].")
    config = _validated(sources.merged(own))
    return Entry(name, url, str(parse_path(mountpoint)), config, frozenset(own))


def _from_environment(environment: Mapping[str, str]) -> _Settings:
    given = {}
    for setting in settings():
        value = environment.get(setting.option.variable)
        if value:  # an empty one is how manifests and unit files say "not set"
            given[setting.field] = _Given(value, setting.option.variable)
    return given


def _validated(given: Mapping[str, _Given]) -> Config:
    by_field = {setting.field: setting.option for setting in settings()}
    values = {field: by_field[field].parse(item.value) for field, item in given.items()}
    try:
        for field, value in values.items():
            _refuse_look_alikes(by_field[field], given[field], value)
        config = Config.model_validate(values)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise _wrong(by_field[field], given[field]) from error
    for field in ("file_mode", "dir_mode"):
        if getattr(config, field) & 0o222:
            raise _wrong(by_field[field], given[field])
    return config


def _refuse_look_alikes(option: Option, item: _Given, value: object) -> None:
    """Refuse what pydantic would convert: TOML's true for a number, 1 for a switch, an unquoted 444 for a mode."""
    is_switch = option.parse is parse_switch
    if isinstance(value, bool) != is_switch or (option.parse is parse_mode and not isinstance(item.value, str)):
        raise _wrong(option, item)


def _wrong(option: Option, item: _Given) -> UsageError:
    return UsageError(f"{item.origin} is {str(item.value)[:80]!r}. It must be {option.expects}.")


def _warnings(environment: Mapping[str, str]) -> list[str]:
    known = {setting.option.variable: "" for setting in settings()} | OTHER_VARIABLES
    return [
        f"the environment variable {name} means nothing to modelfs. {_suggestion(name, known)}"
        for name in sorted(environment)
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known
    ]


def _suggestion(wrong: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(wrong, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else "'modelfs mount --help' lists what there is."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
