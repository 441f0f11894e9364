"""The record of what was tried in one environment, kept beside its policy."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

from ..environments import EnvironmentSpec
from ..environments.building import Kwargs
from ..environments.specs import fingerprint
from ..errors import CheckpointError, short
from ..rollouts.returns import Measurement
from ..utils.files import read_json, save_json
from ..utils.installed import versions

FILE = "attempts.json"


class Trial(TypedDict):
    """One configuration that was trained.

    Attributes:
        hyperparameters: settings and name of the algorithm; None if the trial was interrupted before it began.
        seconds: time of training and evaluation.
        scores: mean return after each slice of the budget.
    """

    hyperparameters: Kwargs | None
    seconds: float
    scores: list[float]


class TrainingRecord(TypedDict, total=False):
    """How a learned policy came about.

    Attributes:
        method: ``rl``.
        algorithm: ARS, DISTILLED, PPO, SAC, TQC, SBX-CROSSQ, SBX-SAC or SBX-TQC.
        seconds: time of all configurations.
        steps: environment steps of the best configuration.
        score: mean return of the policy during training.
        hyperparameters: settings of the algorithm.
        seed: seed of the training.
        configurations: all configurations that competed.
    """

    method: str
    algorithm: str
    seconds: float
    steps: int
    score: float
    hyperparameters: Kwargs
    seed: int
    configurations: list[Trial]


@dataclass
class Attempt:
    """One policy that was tried, and its score.

    Args:
        reference: `name` of the policy, ``module:Class``, or ``rl``.
        kwargs: parameters of the policy.
        method: tabular, scripted, heuristic, planner, rl or distilled.
        seconds: time to make the policy, choose its parameters and measure it.
        score: measurement of the policy; None if the attempt failed.
        error: why the attempt failed.
        training: how a learned policy came about.
    """

    reference: str
    kwargs: Kwargs
    method: str
    seconds: float = 0.0
    score: Measurement | None = None
    error: str = ""
    training: TrainingRecord = field(default_factory=TrainingRecord)


@dataclass
class Record:
    """All attempts in one environment.

    Args:
        name: name of the environment.
        row: fingerprint of the row of the catalogue and the version of its library.
        library: name and version of the library.
        random: measurement of random actions.
        attempts: all attempts, in the order in which they were made.
        seconds: time of all attempts and measurements.
        budget: seconds that were allowed.
        finished: False if more is to be tried.
        good: True if the best attempt is good enough that a larger budget would not be spent.
        versions: versions of the packages that measured.
    """

    name: str
    row: str
    library: str
    random: Measurement | None = None
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
            data = read_json(path)
            record = cls(**(data | {"attempts": [Attempt(**attempt) for attempt in data["attempts"]]}))
            record.check()
            return record
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); remove it, and ldm reference tries its environment again."
            ) from error

    def check(self) -> None:
        """Raises a `ValueError` or the like unless all fields are of their kinds."""
        for kind, values in {
            str: (self.name, self.row, self.library, *(attempt.reference for attempt in self.attempts)),
            dict: (self.versions, *(attempt.kwargs for attempt in self.attempts)),
            int | float: (self.seconds, self.budget),
            bool: (self.finished, self.good),
        }.items():
            if wrong := [value for value in values if not isinstance(value, kind)]:
                raise ValueError(f"{short(wrong[0])} is not of type {kind}")
        for score in (self.random, *(attempt.score for attempt in self.attempts)):
            if score is not None and not math.isfinite(score["mean"] + score["ci"]):
                raise ValueError(f"the score {short(score)} is not finite")

    @classmethod
    def open(cls, spec: EnvironmentSpec, folder: Path, force: bool = False) -> Record:
        """The record to continue: a new one if there is none, or if the row or its library has changed since."""
        found = None if force else cls.load(folder)
        if found is None or found.row != fingerprint(spec):
            return cls(spec.name, fingerprint(spec), f"{spec.library} {spec.version}")
        return found

    def save(self, folder: Path) -> None:
        """Writes the record, whole or not at all."""
        save_json(asdict(self), folder / FILE)

    @property
    def best(self) -> Attempt | None:
        """The attempt with the highest mean return; of equal ones the first, which is cheaper."""
        measured = [(attempt.score["mean"], attempt) for attempt in self.attempts if attempt.score]
        return max(measured, key=lambda pair: pair[0], default=(0.0, None))[1]

    @property
    def beats_random(self) -> bool:
        """Whether the best attempt is better than random, with both 95 % intervals apart."""
        best = self.best
        if best is None or best.score is None or self.random is None:
            return False
        return best.score["mean"] - best.score["ci"] > self.random["mean"] + self.random["ci"]

    def tried(self, reference: str) -> bool:
        """Whether this reference was tried already."""
        return any(attempt.reference == reference for attempt in self.attempts)
