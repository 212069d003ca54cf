"""Where the settings of a mount come from, and what is said when one is wrong.

Law: a flag wins over ``MODELFS_*``, that over the user's configuration file, that over the system's, that over the
default. A value that is not as it must be is one UsageError that names where it came from.

pydantic-settings would merge the sources too, and costs 0.2 s of every start.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from modelfs.config import ENVIRONMENT_PREFIX, OTHER_VARIABLES, Config, Option, parse_mode, parse_switch, settings
from modelfs.errors import UsageError

CONFIG_BYTES_MAX = 1024 * 1024


class _Given(NamedTuple):
    value: object
    origin: str


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
    which may be absent. Raises UsageError, and nothing else.
    """
    given: dict[str, _Given] = {}
    named = flags.get("config") or environment.get("MODELFS_CONFIG")
    for path in [Path(str(named))] if named else default_files(environment) if files is None else files:
        given.update(_from_file(path, must_exist=bool(named)))
    given.update(_from_environment(environment))
    for setting in settings():
        value = flags.get(setting.field)
        if value is not None:
            given[setting.field] = _Given(value, setting.option.flag)
    return _validated(given), _warnings(environment)


def _from_file(path: Path, *, must_exist: bool) -> dict[str, _Given]:
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX + 1)
        if len(text) > CONFIG_BYTES_MAX:
            raise UsageError(f"configuration file {path} is larger than {CONFIG_BYTES_MAX} bytes. Name the right file.")
        table = tomllib.loads(text.decode())
    except (FileNotFoundError, NotADirectoryError) as error:
        if not must_exist:
            return {}
        raise UsageError(f"configuration file {path} does not exist. Name the right file with --config.") from error
    except OSError as error:
        raise UsageError(f"configuration file {path} cannot be read ({error.strerror}). Make it readable.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration file {path} is not TOML: {_one_line(error)}. Correct it.") from error
    known = {setting.option.name: setting.field for setting in settings()}
    for key in table:
        if key not in known:
            raise UsageError(f"configuration file {path} has an unknown key {key!r}. {_suggestion(key, known)}")
    return {known[key]: _Given(value, f"{key} in {path}") for key, value in table.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
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


def _suggestion(wrong: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else "'modelfs mount --help' lists what there is."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
