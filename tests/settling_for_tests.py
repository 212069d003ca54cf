"""Listings of a repository in memory, and what is shown after each. Time is a number here."""

from collections.abc import Collection, Mapping

from modelfs.blocks import ObjectInfo
from modelfs.gate import by_model, model_of
from modelfs.settle import Moment, Settling
from modelfs.uploads import WHOLE, Upload, Uploads

SETTLE_S = 10.0
WALL_NS = 1_800_000_000_000_000_000
PYTHON = 'backend: "python"'
ONNX = 'backend: "onnxruntime"'

Contents = Mapping[str, str]


class Repository:
    """Listings of what a test says is stored, and what is shown after each. A version is the content's own text."""

    def __init__(self, known: Contents | None = None, *, settle_s: float = SETTLE_S) -> None:
        self.settling = Settling(settle_s, infos_of(known or {}))
        self.asked: list[str] = []
        self.unreadable: set[str] = set()
        self.date_ns = WALL_NS
        self.uploads: list[Upload] = []
        self.asks = True
        """Whether the store was asked for uploads of what is due."""
        self.asked_uploads: list[str] = []
        self._is_first = True
        self._lacking: dict[str, frozenset[str]] = {}

    def listed(self, stored: Contents, at_s: float, *, taking_s: float = 0.0) -> dict[str, str]:
        """Return the key and version of all that is shown once ``stored`` was listed at ``at_s``."""
        listing = by_model(infos_of(stored, self.date_ns))
        self.asked_uploads = [WHOLE] if self._is_first else self.settling.due(at_s)
        self._is_first = False
        uploads = {model: [each for each in self.uploads if model_of(each.key) == model] for model in listing}
        wanted = self.settling.take(
            listing,
            Moment(at_s, at_s + taking_s, WALL_NS),
            lacking=self._lacking,
            uploads=Uploads(uploads, frozenset(self.asked_uploads if self.asks else ())),
        )
        self.asked = [info.key for info in wanted]
        texts = {key: None if key in self.unreadable else stored[key].encode() for key in self.asked}
        return {info.key: info.version for info in self.settling.show(texts)}

    def missed(self, stored: Contents, lacking: Collection[str], at_s: float) -> dict[str, str]:
        """Return what is shown once ``stored`` was listed without the ``lacking``, which count for one listing more."""
        self._lacking = {
            model: frozenset(k for k in lacking if model_of(k) == model) for model in map(model_of, lacking)
        }
        try:
            return self.listed(stored, at_s)
        finally:
            self._lacking = {}

    def listed_alone(self, model: str, stored: Contents, at_s: float, *, taking_s: float = 0.0) -> dict[str, str]:
        """Return the key and version of all that is shown of ``model`` once it was listed alone."""
        (objects,) = by_model(infos_of(stored, self.date_ns)).values() or ({},)
        wanted = self.settling.take_model(model, objects, Moment(at_s, at_s + taking_s, WALL_NS))
        self.asked = [info.key for info in wanted]
        texts = {key: None if key in self.unreadable else stored[key].encode() for key in self.asked}
        return {info.key: info.version for info in self.settling.show_model(model, texts)}

    def reasons(self) -> dict[str, str]:
        """Return why each folder waits."""
        return {each.folder: each.reason for each in self.settling.pending}


def infos_of(stored: Contents, date_ns: int = WALL_NS) -> list[ObjectInfo]:
    return [ObjectInfo(key, len(content), content, date_ns) for key, content in stored.items()]


def shown(stored: Contents) -> dict[str, str]:
    """Return what is shown when all of ``stored`` is."""
    return {info.key: info.version for info in infos_of(stored)}


MODEL = {"m/config.pbtxt": ONNX, "m/1/model.onnx": "one"}


def settled(stored: Contents) -> Repository:
    """Return a repository in which ``stored`` has been shown since 0 s."""
    repository = Repository(stored)
    assert repository.listed(stored, 0) == shown(stored)
    return repository
