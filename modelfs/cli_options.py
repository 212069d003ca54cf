"""Command line options made from the one definition of the settings.

Law: no setting is named here. A command takes them as keyword arguments by field name, None where not given.
"""

import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from modelfs import sources
from modelfs.config import Config, Setting, settings

Command = TypeVar("Command", bound=Callable[..., None])


def with_settings(*, only_for_listing: bool = False) -> Callable[[Command], Command]:
    """Replace a command's ``**flags`` by an option for each setting, or for each that ``modelfs ls`` needs."""

    def replace(command: Command) -> Command:
        chosen = [setting for setting in settings() if setting.option.is_for_listing or not only_for_listing]
        signature = inspect.signature(command)
        own = [item for item in signature.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
        added = [_parameter(setting) for setting in chosen]
        command.__dict__["__signature__"] = signature.replace(parameters=[*own, *added])
        command.__annotations__ = {item.name: item.annotation for item in (*own, *added)}
        return command

    return replace


def _parameter(setting: Setting) -> inspect.Parameter:
    option = setting.option
    help_text = f"{setting.description.replace('`', '')} [default: {option.shown_default}]"
    annotation: Any
    if setting.is_switch:
        flags = f"{option.flag}/--no-{option.flag.removeprefix('--')}"
        annotation = Annotated[bool | None, typer.Option(flags, help=help_text, show_default=False)]
    else:
        annotation = Annotated[
            str | None, typer.Option(option.flag, metavar=option.metavar, help=help_text, show_default=False)
        ]
    return inspect.Parameter(setting.field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def as_words(flags: dict[str, Any]) -> list[str]:
    """Return the flags that were given as they stand on a command line, in the order of the documentation."""
    words: list[str] = []
    for setting in settings():
        value, flag = flags.get(setting.field), setting.option.flag
        if value is not None and setting.is_switch:
            words.append(flag if value else f"--no-{flag.removeprefix('--')}")
        elif value is not None:
            words += [flag, str(value)]
    return words


def load(flags: dict[str, Any], config: str | None) -> Config:
    """Return the settings that the flags, the environment and the configuration file ``config`` make, with warnings.

    Raises UsageError for what is none.
    """
    found, warnings = sources.load(flags={**flags, "config": config}, environment=os.environ)
    for warning in warnings:
        typer.echo(f"modelfs: warning: {warning}", err=True)
    return found
