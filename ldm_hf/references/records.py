"""What was tried in one environment, beside its policy: measured once, kept whatever came of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..environments import EnvironmentSpec
from ..environments.specs import fingerprint
from ..errors import CheckpointError
from ..utils.files import save_json
from ..utils.installed import versions

FILE = "attempts.json"


@dataclass
class Attempt:
    """One method, and what came of it.

    Attributes:
        reference: the `name` of a policy, ``module:Class``, or ``rl``.
        kwargs: its parameters.
        method: tabular, scripted, heuristic, planner or rl.
        seconds: to make the policy, choose its parameters and measure it.
        score: ``mean``, ``ci`` (half of the 95 % interval), ``std``, ``episodes`` and ``seed`` of the measurement; None if it failed.
        error: why it failed.
        training: of a learned policy: algorithm, hyper-parameters, steps and seconds of all configurations.
    """

    reference: str
    kwargs: dict[str, Any]
    method: str
    seconds: float = 0.0
    score: dict[str, Any] | None = None
    error: str = ""
    training: dict[str, Any] = field(default_factory=dict)


@dataclass
class Record:
    """All attempts in one environment.

    Attributes:
        name: of the environment.
        row: fingerprint of the row of the catalogue and the version of its library.
        library: ``name version`` of the library.
        random: measurement of random actions, as `Attempt.score`.
        attempts: in the order in which they were made.
        seconds: of everything.
        budget: seconds that were allowed.
        finished: False if more is to be tried.
        good: True if the best attempt leaves nothing to be desired, so that more time would not be spent.
        versions: of what measured.
    """

    name: str
    row: str
    library: str
    random: dict[str, Any] | None = None
    attempts: list[Attempt] = field(default_factory=list)
    seconds: float = 0.0
    budget: float = 0.0
    finished: bool = False
    good: bool = False
    versions: dict[str, str] = field(default_factory=versions)

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """The record in the folder of an environment; None if there is none.

        Raises:
            CheckpointError: if it is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(**(data | {"attempts": [Attempt(**attempt) for attempt in data["attempts"]]}))
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); remove it, and its environment is tried again."
            ) from error

    @classmethod
    def open(cls, spec: EnvironmentSpec, folder: Path, force: bool = False) -> Record:
        """The record to go on with: a new one if there is none, or if the row or its library has changed since."""
        found = None if force else cls.load(folder)
        if found is None or found.row != fingerprint(spec):
            return cls(spec.name, fingerprint(spec), f"{spec.library} {spec.version}")
        return found

    def save(self, folder: Path) -> None:
        """Writes it, whole or not at all."""
        save_json(asdict(self), folder / FILE)

    @property
    def best(self) -> Attempt | None:
        """The attempt of the highest mean return; the earlier, which is the cheaper one, of equals."""
        measured = [attempt for attempt in self.attempts if attempt.score]
        return max(measured, key=lambda attempt: attempt.score["mean"], default=None)  # type: ignore[index]

    @property
    def beats_random(self) -> bool:
        """Whether both 95 % intervals lie apart."""
        best = self.best
        return best is not None and self.random is not None and outside(self.random, best.score)

    def tried(self, reference: str) -> bool:
        """Whether there was an attempt with this reference."""
        return any(attempt.reference == reference for attempt in self.attempts)


def outside(random: dict[str, Any], score: dict[str, Any] | None) -> bool:
    """Whether a score is better than random, and their 95 % intervals lie apart."""
    return score is not None and score["mean"] - score["ci"] > random["mean"] + random["ci"]
