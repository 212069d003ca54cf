"""A scenario: a repository, what is done to it step by step, and what a tritonserver is asked after each.

Law: values only. A scenario says nothing of where the repository is; who runs it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["poll", "explicit"]
BOTH: tuple[Mode, ...] = ("poll", "explicit")

Files = Mapping[str, bytes | None]
"""Content by path below the repository; None deletes. A path that ends in "/" is an empty folder, or its marker."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load models, one after the other or ``at_once``. Where Triton polls it loads by itself."""

    models: tuple[str, ...]
    config: str | None = None
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Unload:
    """Unload models, one after the other or ``at_once``."""

    models: tuple[str, ...]
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Infer:
    """Ask what a model says: which publication it is from, and what it found in its folder."""

    model: str
    version: str = ""


Ask = Load | Unload | Infer


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the repository, at once, and then questions, in their order. The index is always asked for."""

    name: str
    files: Files = field(default_factory=dict)
    asks: tuple[Ask, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens. Models of two scenarios have different names, so that one server can serve several.

    ``initial`` is there when the server starts. One that is ``alone`` is about the whole repository.
    """

    name: str
    initial: Files
    steps: tuple[Step, ...]
    modes: tuple[Mode, ...] = BOTH
    alone: bool = False

    @property
    def asks_at_once(self) -> bool:
        """Return whether something of it has no order, because it is asked for at once."""
        return any(getattr(ask, "at_once", False) for step in self.steps for ask in step.asks)

    @property
    def models(self) -> frozenset[str]:
        """Return the names of its models."""
        paths = [path for files in (self.initial, *(step.files for step in self.steps)) for path in files]
        return frozenset(path.partition("/")[0] for path in paths if "/" in path)
