"""A visitor's own environment, known by a log alone: what the model would have done, beside what was done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gymnasium import spaces

from ..environments.specs import EnvironmentSpec
from ..errors import DatasetError
from .sharing import SharedModel
from .thoughts import certainty

MOST_ROWS, MOST_COLUMNS, MOST_CHOICES = 2000, 256, 64
LONGEST_HEADER = 1 << 16
NAME = "your-log"
SHARE = 50  # rows between two reports
COLUMNS = ["row", "logged", "proposed", "sure"]


@dataclass(frozen=True)
class Form:
    """What a visitor says of the columns of a log.

    Args:
        observations: columns of numbers that the model sees.
        action: column of what was done.
        choices: whether an action is one of a few values, otherwise a number.
        reward: column of the reward of each row's action, if there is one.
        episode: column that changes where an episode begins, if there are several.
        task: task text.
    """

    observations: tuple[str, ...]
    action: str
    choices: bool
    reward: str | None = None
    episode: str | None = None
    task: str = ""


def read_log(path: str | Path) -> pd.DataFrame:
    """The first rows of a CSV file, whose values are separated by commas, semicolons or tabs.

    Raises:
        DatasetError: if it is none, or has too many columns.
    """
    name = Path(path).name
    try:
        with open(path, encoding="utf-8") as file:
            header = file.readline(LONGEST_HEADER)
        table = pd.read_csv(path, sep=max(",;\t", key=header.count), nrows=MOST_ROWS)
    except (ValueError, OSError) as error:  # pandas' own are of the first
        problem = f"{name} cannot be read as a table ({error!s:.200}); save it as CSV with a header, in UTF-8."
        raise DatasetError(problem) from error
    if not len(table) or not 2 <= len(table.columns) <= MOST_COLUMNS:
        raise DatasetError(
            f"{name} has {len(table):,} rows and {len(table.columns)} columns; a log has a row a step and from 2 to "
            f"{MOST_COLUMNS} columns."
        )
    table.columns = table.columns.astype(str)
    return table


def guess(table: pd.DataFrame) -> Form:
    """What the columns are by their names and values; the action is the last one that is not called otherwise."""
    named = {name.lower().strip(): name for name in table.columns}
    reward, episode = named.get("reward"), named.get("episode")
    rest = [name for name in table.columns if name not in (reward, episode)]
    action = named.get("action", rest[-1])
    numeric = tuple(name for name in rest if name != action and pd.api.types.is_numeric_dtype(table[name]))
    values = table[action]
    choices = not pd.api.types.is_float_dtype(values) and values.nunique() <= MOST_CHOICES
    return Form(numeric, action, choices, reward, episode)


@dataclass
class Replay:
    """The model goes through a log: at each row it proposes an action, then it is told what was done.

    Args:
        model: the model of all visitors.
        table: the log.
        form: what its columns are.

    Raises:
        DatasetError: if a column is none of what the form says; names it and the first such row.
    """

    model: SharedModel
    table: pd.DataFrame
    form: Form
    proposed: list[Any] = field(default_factory=list)
    sure: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        form = self.form
        if not form.observations:
            raise DatasetError("Choose at least one column of numbers that the model sees.")
        used = [form.action, *filter(None, (form.reward, form.episode))]
        if doubled := {name for name in used if name in form.observations or used.count(name) > 1}:
            raise DatasetError(f"The column {doubled.pop()} is used twice; what was done is not to be seen before.")
        self._observations = np.stack([self._numbers(name, True) for name in form.observations], 1).astype(np.float32)
        self._rewards = None if form.reward is None else self._numbers(form.reward)
        starts = self.table[form.episode] if form.episode is not None else pd.Series(np.zeros(len(self.table)))
        self._starts = (starts != starts.shift()).to_numpy()
        box = spaces.Box(-np.inf, np.inf, self._observations.shape[1:])
        if form.choices:
            values = self.table[form.action]
            self._refuse(form.action, values.isna().to_numpy(), "missing")
            self.words = sorted(values.unique().tolist(), key=lambda value: (str(type(value)), value))
            if not 2 <= len(self.words) <= MOST_CHOICES:
                raise DatasetError(
                    f"{form.action} has {len(self.words)} different values; choices are from 2 to {MOST_CHOICES}. "
                    "Is it a number?"
                )
            self.logged = np.array([self.words.index(value) for value in values])
            self._pair: tuple[spaces.Space[Any], spaces.Space[Any]] = box, spaces.Discrete(len(self.words))
            return
        self.logged = self._numbers(form.action).astype(np.float32)
        low, high = float(self.logged.min()), float(self.logged.max())
        if low == high:
            raise DatasetError(f"{form.action} is always {low:g}; there is nothing to decide.")
        self._pair = box, spaces.Box(np.float32(low), np.float32(high), (1,))

    def run(self) -> Iterator[int]:
        """Goes through the log; yields how many rows it has done, now and then.

        Raises:
            LDMError: if the model cannot act there.
        """
        row = EnvironmentSpec(NAME, NAME, task=self.form.task)
        stream = self.model.open(row, self._pair)
        try:
            layout = stream.room.layout
            for number in range(len(self.table)):
                chosen = self.model.act(stream, self._message(number))
                self.proposed.append(np.ravel(chosen.action)[0])
                self.sure.append(certainty(layout, chosen))
                logged = self.logged[number]
                done = np.int64(logged) if self.form.choices else np.array([logged], np.float32)
                self.model.executed(stream, done)
                if (number + 1) % SHARE == 0:
                    yield number + 1
        finally:
            self.model.close(stream)
        yield len(self.table)

    def _message(self, number: int) -> dict[str, Any]:
        message: dict[str, Any] = {"observation": self._observations[number]}
        if self._rewards is None:
            return message | {"episode_start": bool(self._starts[number])}
        if number:  # the flags belong to the step before
            message |= {"reward": self._rewards[number - 1], "terminated": bool(self._starts[number])}
            message["truncated"] = False
        return message

    def rows(self) -> pd.DataFrame:
        """What was done and what the model proposed, row by row as far as it has come."""
        count = len(self.proposed)
        logged, proposed = self.logged[:count].tolist(), [value.item() for value in self.proposed]
        if self.form.choices:
            logged, proposed = ([self.words[place] for place in places] for places in (logged, proposed))
        sure = [f"{share:.0%}" for share in self.sure]
        return pd.DataFrame(dict(zip(COLUMNS, (range(1, count + 1), logged, proposed, sure), strict=True)))

    def summary(self) -> str:
        """How far the model agrees with the log, beside what needs no model."""
        count = len(self.proposed)
        logged, proposed = self.logged[:count], np.array(self.proposed)
        if count < 2:
            return ""
        if self.form.choices:
            same, again = (proposed == logged).mean(), (logged[1:] == logged[:-1]).mean()
            most = np.bincount(logged)
            return (
                f"The model would have done the same in {same:.0%} of {count:,} rows. Doing again what was done in the "
                f"row before: {again:.0%}. Always {self.words[int(most.argmax())]}: {most.max() / count:.0%}."
            )
        span = float(self.logged.max() - self.logged.min())
        apart, again, mean = (
            float(np.abs(gap).mean()) / span for gap in (proposed - logged, np.diff(logged), logged - logged.mean())
        )
        return (
            f"In {count:,} rows the model is {apart:.1%} of the action's range away from the log on average. Doing "
            f"again what was done in the row before: {again:.1%}. Always the mean: {mean:.1%}."
        )

    def _numbers(self, name: str, gaps: bool = False) -> np.ndarray:
        """A column as numbers; with ``gaps``, missing ones are NaN, which the model takes for the mean."""
        column = self.table[name]
        numbers: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        self._refuse(name, np.isnan(numbers) & column.notna().to_numpy(), "no number")
        self._refuse(name, np.isinf(numbers), "infinite")
        if not gaps:
            self._refuse(name, np.isnan(numbers), "missing")
        return numbers

    def _refuse(self, name: str, wrong: np.ndarray, problem: str) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            raise DatasetError(f"{name} is {problem} in row {row + 1} ({self.table[name].iloc[row]!s:.40}).")
