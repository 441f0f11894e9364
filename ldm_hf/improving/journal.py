"""What an improvement has done so far, in a file that outlives the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict, cast

from ..errors import CheckpointError
from ..spaces import Json
from ..utils.files import read_json, save_json

FILE = "improve.json"
TICK_SECONDS = 10.0  # a process that is killed loses no more of the time that it counts


class Round(TypedDict, total=False):
    """One round; a field is there once its stage has come so far.

    Attributes:
        number: number of the round; 0 is the evaluation of the model that it starts from.
        speeds: seconds to make an environment and steps per second there, as estimated.
        picked: steps to collect in the environments in which the model lags.
        targets: steps that these are to have in the dataset then.
        collected: steps that were collected.
        failures: messages by environment of what could not be collected.
        updates: most updates of the training.
        limit: its time limit in minutes; None if there is none.
        trained: number of updates that were made.
        minutes: minutes spent, by stage.
        kept: whether the new model took the place of the old one; the round has ended then.
        why: what decided.
        environments: number of environments that were measured.
        won: environments that came to 80 % of the reference.
        lost: environments that fell below.
        lost_beyond_noise: those of ``lost`` whose score fell by more than chance explains.
        at_80: environments at 80 % of the reference, the best model so far and this one.
        capped: mean of the scores, cut off below 0 and above 1, of both.
        families_at_80: families at 80 %, of both.
    """

    number: int
    speeds: dict[str, list[float]]
    picked: dict[str, int]
    targets: dict[str, int]
    collected: int
    failures: dict[str, str]
    updates: int
    limit: float | None
    trained: int
    minutes: dict[str, float]
    kept: bool
    why: str
    environments: int
    won: list[str]
    lost: list[str]
    lost_beyond_noise: list[str]
    at_80: list[int]
    capped: list[float]
    families_at_80: list[int]


class Journal:
    """The journal of an improvement, ``improve.json``; every change is written at once, whole or not at all.

    Args:
        folder: folder of the improvement.
        options: options that stay as they are, for an improvement that begins.

    Raises:
        CheckpointError: if the file is damaged.
        UnwritableError: by all methods, if the file cannot be written; what it held before is still there.
    """

    def __init__(self, folder: Path, options: dict[str, Json]) -> None:
        self.path = folder / FILE
        self.options, self.rounds = options, list[Round]()
        if self.path.exists():
            try:
                told = read_json(self.path)
                self.options, self.rounds = dict(told["options"]), [cast(Round, dict(one)) for one in told["rounds"]]
                if [one["number"] for one in self.rounds] != list(range(len(self.rounds))):
                    raise ValueError("its rounds are not numbered from 0")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise CheckpointError(f"{self.path} is damaged ({error!r}); choose another --output.") from error

    @property
    def best(self) -> str:
        """Folder or Hub id of the best model so far, which the next round starts from."""
        number = self.best_number
        return str(self.model_of(number)) if number else str(self.options["model"])

    @property
    def best_number(self) -> int:
        """Number of the round that made it."""
        return max((one["number"] for one in self.rounds if one.get("kept")), default=0)

    def folder_of(self, number: int) -> Path:
        """The folder of a round."""
        return self.path.parent / f"round-{number}"

    def model_of(self, number: int) -> Path:
        """The folder of the model that a round has made."""
        return self.folder_of(number) / "model"

    def results_of(self, number: int) -> Path:
        """The results of a round's model: beside it, where its card finds them. That of round 0 is somewhere else."""
        return (self.model_of(number) if number else self.folder_of(number)) / "results.json"

    def save(self) -> None:
        """Writes the file."""
        save_json({"best": self.best, "options": self.options, "rounds": self.rounds}, self.path)

    def round(self, number: int) -> Round:
        """The round of this number, which begins if it has not."""
        if number == len(self.rounds):
            self.rounds.append({"number": number, "minutes": {}})
            self.save()
        return self.rounds[number]

    @contextmanager
    def timed(self, one: Round, stage: str) -> Iterator[Callable[..., None]]:
        """Counts the minutes of a stage, also those that were written by processes that were killed in it.

        Yields:
            A function to call now and then, with any arguments: it writes the time.
        """
        before, began = one["minutes"].get(stage, 0.0), time.monotonic()
        written = began

        def tick(*_: object) -> None:
            nonlocal written
            now = time.monotonic()
            one["minutes"][stage] = round(before + (now - began) / 60, 4)
            if now - written > TICK_SECONDS:
                written = now
                self.save()

        try:
            yield tick
        finally:
            tick()
        self.save()
