"""``modelfs refresh``: has a mount list its repository, or one model of it, now, and waits until it has.

Law: only the mount's own worker lists; what is told is what it says.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from modelfs import mounts, runtime
from modelfs.errors import ModelfsError, UsageError
from modelfs.names import is_model_name

_LOOK_S = 0.1


class RefreshFailedError(ModelfsError):
    """The listing failed, or did not end in time. The mount goes on showing what it has."""

    exit_status = 1


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh changed: ``changes`` paths, of which ``changed`` are the first hundred.

    ``pending`` are folders that are not shown as they are stored, each with its reason.
    """

    changed: list[str]
    changes: int
    pending: list[dict[str, str]]


def refresh(root: str, mountpoint: str, *, within_s: float | None, model: str | None = None) -> Refreshed | None:
    """Have the mount at ``mountpoint`` (resolved) list now: ``model`` alone where one is given.

    Returns None at once without ``within_s``; else what changed, when a listing has ended that began after the call.
    Raises UsageError where nothing is mounted and for what can be no model's name, ControlError where the worker does
    not answer, and RefreshFailedError.
    """
    if model is not None and not is_model_name(model):
        raise UsageError(f"{model!r} is no name that a model can have. Write it as its folder in the mount is named.")
    folder = mounts.living(root, mountpoint)
    deadline = time.monotonic() + (within_s or 0.0)
    asked: dict[str, Any] = {}
    while True:
        is_late = time.monotonic() > deadline
        with _patience(is_over=is_late or not runtime.is_alive(folder)):
            answer = mounts.ask(folder, "refresh", model=model, **asked)
            if answer["ended"]:
                return _ended(mountpoint, model, answer)
            if within_s is None:
                return None
            asked = {"number": answer["number"], "worker": answer["worker"]}
        if is_late:
            what = "the repository" if model is None else f"the model {model!r}"
            raise RefreshFailedError(
                f"{what} at {mountpoint} is not listed within {within_s:g} s. Look at 'modelfs status', or give it a"
                " longer --timeout."
            )
        time.sleep(_LOOK_S)


@contextmanager
def _patience(*, is_over: bool) -> Iterator[None]:
    """Wait for a worker that does not answer: it may have died, and the next one be about to serve."""
    try:
        yield
    except mounts.ControlError:
        if is_over:
            raise


def _ended(mountpoint: str, model: str | None, answer: dict[str, Any]) -> Refreshed:
    if answer["error"]:
        raise RefreshFailedError(f"{mountpoint} shows what it showed before: {answer['error']}")
    if not answer["is_known"]:
        raise RefreshFailedError(
            f"the repository at {mountpoint} has no model {model!r}. 'modelfs ls' of its URL lists what it has."
        )
    return Refreshed(answer["changed"], answer["changes"], answer["pending"])
