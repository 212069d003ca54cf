"""What is published: random changes of one model, one after the other, each with what a server that polls makes of it.

Law: pure. Chance comes from the generator that is passed in, time is passed as pauses in seconds. Only the greatest
version is served, which is Triton's default policy.

A publication is written file by file, with pauses. A mount knows by its names that a version without model.py is not
whole, so before model.py comes, and after it went, a pause may be as long as it likes; and so it may while uploads in
parts are open below it. All else the settling time alone can tell, so there pauses are shorter than it
(``docs/semantics.md``, Settling).
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from soak.witness import config, version

PARTS = ("a", "b")
SCRIPT = "model.py"
LONG, SHORT = 3.0, 0.9
"""The longest pauses, in settling times."""
_VERSIONS_KEPT = 4


class Write(NamedTuple):
    """One request: wait, then put ``data`` at ``path`` below the model, or delete it (None).

    ``age_s`` dates the object that long before it is written, as a store does with what was begun so long ago;
    ``is_again`` puts the very object that is there, with another date, or that was there before it was deleted.
    ``is_guarded``: names, or uploads below it, tell that the version is not whole, so the pause may take as long as it
    likes. ``is_in_parts``: what is put is the end of an upload that began before the first write.
    """

    path: str
    data: bytes | None = None
    pause_s: float = 0.0
    age_s: float = 0.0
    is_again: bool = False
    is_guarded: bool = False
    is_in_parts: bool = False


class Load(NamedTuple):
    """A version that is loaded, and the numbers that the witness reads in its files."""

    version: int
    told: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """One change. ``load`` is what is loaded because of it, ``served`` the version that is ready afterwards."""

    kind: str
    model: str
    writes: tuple[Write, ...]
    load: Load | None
    served: int | None

    @property
    def removes(self) -> bool:
        """Whether something has to be missed twice before it counts."""
        return any(write.data is None and not write.is_again for write in self.writes)


@dataclass(slots=True)
class Model:
    """A model as the store has it: ``versions`` tells the number in the files of each, ``history`` those before."""

    name: str
    rng: random.Random
    settle_s: float
    versions: dict[int, int] = field(default_factory=dict)
    history: dict[int, list[int]] = field(default_factory=dict)
    _numbers: int = 0
    _greatest: int = 0

    def publish(self) -> Publication:
        """Return the next change, which is taken for done."""
        self._numbers += 1
        return self.rng.choice(self._fitting())()

    @property
    def served(self) -> int:
        """The version that is served. Raises ValueError where there is none."""
        return max(self.versions)

    def _fitting(self) -> list[Callable[[], Publication]]:
        if not self.versions:
            return [self._new_model]
        always = [self._config_and_version, self._config, self._notes, self._new_dates, self._away_for_a_moment]
        kinds = [self._new_version] * 3 + [self._overwrite] * 4 + [self._begun_before, self._rollback] * 2 + always
        kinds += [self._in_parts] * 2
        if len(self.versions) > 1:
            kinds += [self._overwrite_older, self._delete_older] + [self._delete_served] * 2
        if len(self.versions) > _VERSIONS_KEPT:
            kinds += [self._delete_older] * 6
        return [*kinds, self._delete_model]

    # what loads something

    def _new_model(self) -> Publication:
        number = self._next_version()
        return self._done(
            "new model", self._guarded({**self._files(number), "config.pbtxt": self._config_text()}), number
        )

    def _new_version(self) -> Publication:
        number = self._next_version()
        return self._done("new version", self._guarded(self._files(number)), number)

    def _config_and_version(self) -> Publication:
        number = self._next_version()
        files = {**self._files(number), "config.pbtxt": self._config_text()}
        return self._done("config and version", self._short(files), number)

    def _overwrite(self) -> Publication:
        number = self.served
        return self._done("overwrite", self._short(self._files(number)), number)

    def _begun_before(self) -> Publication:
        """Overwrite with objects that the store dates from long before, as it does what was uploaded in parts."""
        number = self.served
        writes = self._short(self._files(number), age_s=self.rng.uniform(30, 3000))
        return self._done("begun long before", writes, number)

    def _in_parts(self) -> Publication:
        """Overwrite by uploads that all begin at once, and end one after the other."""
        number = self.served
        files = self._files(number)
        writes = (
            Write(path, files[path], self.rng.uniform(0, LONG) * self.settle_s, is_guarded=True, is_in_parts=True)
            for path in self.rng.sample(list(files), len(files))
        )
        return self._done("in parts", tuple(writes), number)

    def _rollback(self) -> Publication:
        """Put back what a version was before, with an older date."""
        number = self.served
        self._put(number, self.rng.choice(self.history[number]))
        writes = self._short(version(str(number), self.versions[number], PARTS), age_s=self.rng.uniform(30, 3000))
        return self._done("rollback", writes, number)

    def _config(self) -> Publication:
        return self._done("config", (Write("config.pbtxt", self._config_text()),), self.served)

    def _notes(self) -> Publication:
        """Put a file beside the versions: a server loads anew for it, and not for one that goes (seen on a folder)."""
        return self._done("a file beside", (Write("notes", str(self._numbers).encode()),), self.served)

    def _delete_served(self) -> Publication:
        return self._deleted("delete served", self.served)

    # what loads nothing

    def _overwrite_older(self) -> Publication:
        writes = self._short(self._files(self._an_older_one()))
        return self._done("overwrite an older version", writes, None)

    def _delete_older(self) -> Publication:
        return self._deleted("delete an older version", self._an_older_one())

    def _delete_model(self) -> Publication:
        paths = [f"{number}/{name}" for number in self.versions for name in (*PARTS, SCRIPT)]
        self.versions.clear()
        return self._done("delete the model", self._short(dict.fromkeys([*paths, "config.pbtxt", "notes"])), None)

    def _new_dates(self) -> Publication:
        writes = tuple(Write(f"{self.served}/{name}", is_again=True, age_s=-60) for name in (*PARTS, SCRIPT))
        return self._done("dates alone", writes, None)

    def _away_for_a_moment(self) -> Publication:
        path = f"{self.served}/{self.rng.choice([*PARTS, SCRIPT])}"
        return self._done("away for a moment", (Write(path), Write(path, is_again=True)), None)

    # how it is written

    def _done(self, kind: str, writes: tuple[Write, ...], loads: int | None) -> Publication:
        load = None if loads is None else Load(loads, (self.versions[loads],) * (1 + len(PARTS)))
        return Publication(kind, self.name, writes, load, max(self.versions, default=None))

    def _deleted(self, kind: str, number: int) -> Publication:
        was_served = number == self.served
        del self.versions[number]
        names = [SCRIPT, *self.rng.sample(PARTS, len(PARTS))]
        pauses = [self.rng.uniform(0, LONG) * self.settle_s for _ in names]
        writes = [
            Write(f"{number}/{name}", pause_s=pause_s, is_guarded=name != SCRIPT)
            for name, pause_s in zip(names, pauses, strict=True)
        ]
        if self.rng.random() < 0.5:
            writes = list(self._short({write.path: None for write in writes}))
        return self._done(kind, tuple(writes), self.served if was_served else None)

    def _guarded(self, files: Mapping[str, bytes | None]) -> tuple[Write, ...]:
        """Return writes in any order but for the script, which is the last, with pauses of any length."""
        script = next(path for path in files if path.endswith(SCRIPT))
        others = [path for path in files if path != script]
        order = [*self.rng.sample(others, len(others)), script]
        return tuple(
            Write(path, files[path], self.rng.uniform(0, LONG) * self.settle_s, is_guarded=True) for path in order
        )

    def _short(self, files: Mapping[str, bytes | None], *, age_s: float = 0.0) -> tuple[Write, ...]:
        """Return writes in any order, with pauses shorter than the settling time."""
        order = self.rng.sample(list(files), len(files))
        share = SHORT * self.settle_s
        return tuple(Write(path, files[path], self.rng.uniform(0, share), age_s) for path in order)

    def _files(self, number: int) -> dict[str, bytes]:
        """Return new files of a version, and take them for put."""
        self._put(number, self._numbers)
        return version(str(number), self._numbers, PARTS)

    def _put(self, number: int, told: int) -> None:
        self.versions[number] = told
        self.history.setdefault(number, []).append(told)

    def _config_text(self) -> bytes:
        return config(f'parameters {{ key: "n" value {{ string_value: "{self._numbers}" }} }}')

    def _next_version(self) -> int:
        self._greatest += 1
        return self._greatest

    def _an_older_one(self) -> int:
        return self.rng.choice(sorted(self.versions.keys() - {self.served}))
