"""What a model's config.pbtxt says of its files.

Law: pure, and no judgement: what Triton would make of it is ``lint``'s. A field that Triton allows once counts with its
last value, as in protobuf.
Source: Triton's ``model_config.proto``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from modelfs import version_policy
from modelfs.pbtxt import Message, parse
from modelfs.version_policy import Policy


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The fields that name something; "" is not given. ``step_models`` are the models of an ensemble.

    ``capability_filenames`` replace the model's file on GPUs of a compute capability.
    """

    name: str = ""
    platform: str = ""
    backend: str = ""
    default_model_filename: str = ""
    capability_filenames: tuple[str, ...] = ()
    label_filenames: tuple[str, ...] = ()
    step_models: tuple[str, ...] = ()
    is_ensemble: bool = False
    policy: Policy = field(default_factory=Policy)


def read(text: str) -> ModelConfig:
    """Return what ``text`` says. Raises PbtxtError.

    >>> read('backend: "python" output { name: "o" label_filename: "l.txt" }').label_filenames
    ('l.txt',)
    """
    config = parse(text)
    steps = [step for scheduling in _messages(config, "ensemble_scheduling") for step in _messages(scheduling, "step")]
    platform = _text(config, "platform")
    return ModelConfig(
        name=_text(config, "name"),
        platform=platform,
        backend=_text(config, "backend"),
        default_model_filename=_text(config, "default_model_filename"),
        capability_filenames=tuple(filter(None, (_text(each, "value") for each in _messages(config, _CAPABILITIES)))),
        label_filenames=tuple(filter(None, (_text(each, "label_filename") for each in _messages(config, "output")))),
        step_models=tuple(filter(None, (_text(step, "model_name") for step in steps))),
        is_ensemble=platform == "ensemble" or "ensemble_scheduling" in config,
        policy=version_policy.of(config),
    )


_CAPABILITIES = "cc_model_filenames"


def _text(message: Message, name: str) -> str:
    values = message.get(name)
    return values[-1] if values and isinstance(values[-1], str) else ""


def _messages(message: Message, name: str) -> Iterator[Message]:
    return (each for each in message.get(name, ()) if isinstance(each, dict))
