"""Episodes as lists of steps, the way RLDS stores them (Ramos et al. 2021, arXiv 2111.02767).

A step is a dict of ``observation``, ``action``, ``reward``, ``is_first``, ``is_last``, ``is_terminal``; other keys are
ignored. In RLDS, the step with ``is_last`` holds the last observation only: its action and reward are invalid, so it is
left out, and ``is_terminal`` in it says that the action before ended the episode. In datasets of Open X-Embodiment's
template, its action and reward count: ``last_step="action"`` keeps it. Where no step has ``is_last``, all count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DatasetError
from ..spaces import Action, Observation
from .arrays import flags
from .base import LoggedEpisode, Source, Spaces, logged_episode
from .identity import value_identity
from .inference import infer_spaces
from .pictures import is_encoded, stack_pictures
from .rows import open_rows, rows_identity

Step = Mapping[str, Any]
"""A step of RLDS."""
DROP, ACTION = "drop", "action"


class RLDSSource(Source):
    """Lists of steps from a file, a dataset on the Hub, or Python.

    A file (``.jsonl``, ``.json``, ``.parquet``) or dataset has one row for each episode, with a list ``steps``.

    Args:
        source: file, folder, Hub id; or the episodes themselves, each a dict with ``steps`` or a plain list of steps.
            For TensorFlow datasets, ``tfds.as_numpy(dataset)`` gives them.
        config: name of the config of a dataset that has several.
        split: name of the split.
        spaces: observation and action space; found in the data by default.
        last_step: ``drop`` the step with ``is_last``, as RLDS means it, or keep its ``action`` and reward.
        bad_episodes: ``refuse`` an episode that cannot be read while the spaces are looked for, or ``skip`` it.

    Raises:
        DatasetError: if a step lacks its observation or action; names the episode and the step.
    """

    def __init__(
        self,
        source: str | Iterable[Mapping[str, Iterable[Step]] | Iterable[Step]],
        config: str | None = None,
        split: str = "train",
        spaces: Spaces | None = None,
        last_step: str = DROP,
        bad_episodes: str = "refuse",
    ) -> None:
        if last_step not in (DROP, ACTION):
            raise DatasetError(f"last_step should be {DROP} or {ACTION}, is {last_step!r}.")
        self.last_step, self.folder = last_step, None
        if isinstance(source, str):
            self.source, self._episodes = source, open_rows(source, config, split)
            path = Path(source).expanduser()
            self.folder = path if path.is_dir() else path.parent if path.is_file() else None
            content = rows_identity(source, self._episodes)
        else:
            self.source = "the episodes"
            self._episodes = [row if isinstance(row, Mapping) else list(row) for row in source]
            content = value_identity(self._episodes)
        self.num_episodes = len(self._episodes)
        self.description = {"name": config or Path(self.source).stem}
        self.origin = {
            "source": Path(self.source).name,
            "config": config,
            "split": split,
            "episodes": self.num_episodes,
            "content": content,
        }
        if last_step != DROP:
            self.origin["last_step"] = last_step
        skipped = self.report.skipped if bad_episodes == "skip" else None
        self.observation_space, self.action_space = spaces or infer_spaces(
            self._read, self.num_episodes, self.source, skipped
        )

    def _read(self, number: int) -> LoggedEpisode:
        """One episode."""
        where = f"{self.source}, episode {number}"
        row = self._episodes[number]
        if isinstance(row, Mapping) and "steps" not in row:
            raise DatasetError(f"{where} has no steps; it has {sorted(map(str, row))}.")
        steps = list((row["steps"] or []) if isinstance(row, Mapping) else row)
        if not steps or not all(isinstance(step, Mapping) for step in steps):
            raise DatasetError(f"{where} is no list of steps, each of them with observation, action, reward.")
        terminated = self._check_ends(steps, where)
        kept = steps[:-1] if steps[-1].get("is_last") and self.last_step == DROP else steps
        if not kept:
            raise DatasetError(f"{where} has only a last observation, no action; drop it.")
        if len(kept) < len(steps):
            last = steps[-1]
            reward, action = last.get("reward"), last.get("action")
            self.report.count("last observations, which have no action, left out (is_last)", number)
            if reward is not None and np.any(np.asarray(reward) != 0):
                self.report.count(
                    "of them with a reward that is not 0, lost unless --last-step action keeps it", number
                )
            elif action is not None and not _equal(action, steps[-2].get("action")) and not _is_zero(action):
                self.report.count(
                    "of them with an action of their own, lost unless --last-step action keeps it", number
                )
        parts = {
            name: [_part(step, name, index, where) for index, step in enumerate(kept)]
            for name in ("observation", "action", "reward")
        }
        return logged_episode(
            self._stack(parts["observation"], f"{where}: observation"),
            self._stack(parts["action"], f"{where}: action"),
            np.asarray(self._stack(parts["reward"], f"{where}: reward")),
            terminated,
        )

    def _check_ends(self, steps: list[Step], where: str) -> bool:
        """Whether an episode is terminated.

        Raises:
            DatasetError: if a flag says that it begins or ends in the middle.
        """
        found = {}
        for name in ("is_first", "is_last", "is_terminal"):
            given = [step.get(name) for step in steps]
            found[name] = flags([bool(0) if flag is None else flag for flag in given], f"{where}: {name}")
        last = len(steps) - 1
        for name, wrong in (
            ("is_first", np.flatnonzero(found["is_first"][1:]) + 1),
            ("is_last", np.flatnonzero(found["is_last"][:-1])),
            ("is_terminal", np.flatnonzero(found["is_terminal"][: last - bool(found["is_last"][-1])])),
        ):
            if len(wrong):
                raise DatasetError(
                    f"{where}: step {int(wrong[0])} of {len(steps)} has {name} in the middle; cut it there."
                )
        return bool(
            found["is_terminal"][max(0, last - 1) :].any() if found["is_last"][-1] else found["is_terminal"][-1]
        )

    def _stack(self, values: list[Any], where: str) -> Observation | Action:
        """The values of all steps as arrays with the steps in front; dicts stay dicts.

        Raises:
            DatasetError: if steps differ in their parts, kind or shape, or a value is missing; names the step.
        """
        first = values[0]
        kinds = {_kind(value) for value in values}
        if None in values or "missing" in kinds:
            step = next(index for index, value in enumerate(values) if _kind(value) == "missing")
            raise DatasetError(f"{where}: step {step} has a missing value; repair or drop it.")
        if len(kinds) > 1:
            step = next(index for index, value in enumerate(values) if _kind(value) != _kind(first))
            raise DatasetError(
                f"{where}: step {step} is {_kind(values[step])}, step 0 {_kind(first)}; repair or drop it."
            )
        if is_encoded(first):
            return stack_pictures(values, self.folder, where)
        if isinstance(first, Mapping):
            for step, value in enumerate(values):
                if value.keys() != first.keys():
                    raise DatasetError(
                        f"{where}: step {step} has parts {sorted(map(str, value))}, step 0 {sorted(map(str, first))}."
                    )
            return {key: self._stack([value[key] for value in values], f"{where}.{key}") for key in first}
        if isinstance(first, bytes):
            try:
                return np.array([value.decode() for value in values], dtype=object)
            except UnicodeDecodeError as error:
                raise DatasetError(f"{where} holds bytes that are neither a picture nor a text; drop it.") from error
        if isinstance(first, str):
            return np.array(values, dtype=object)
        return _numbers(values, where)

    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on."""
        for number in range(start, self.num_episodes):
            yield self._read(number)


def _part(step: Step, name: str, index: int, where: str) -> Any:
    """The value of a key of a step, which has to be there."""
    value = step.get(name)
    if value is None:
        raise DatasetError(f"{where}, step {index} has no {name}.")
    return value


def _kind(value: object) -> str:
    """What sort of value it is; values of a part are all of one."""
    if value is None:
        return "missing"
    if is_encoded(value):
        return "a picture"
    if isinstance(value, Mapping):
        return "several parts"
    if isinstance(value, str | bytes):
        return "a text"
    return "numbers"


def _numbers(values: list[Any], where: str) -> np.ndarray:
    """The numbers of all steps.

    Raises:
        DatasetError: if steps differ in shape, a number is missing, or whole numbers would lose digits.
    """
    arrays: list[np.ndarray] = []
    for step, value in enumerate(values):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise DatasetError(f"{where}: step {step} has rows of different lengths; repair or drop it.") from error
        if array.dtype.kind not in "biuf":
            raise DatasetError(
                f"{where}: step {step} holds {str(value)[:60]!r}, where numbers should be; repair or drop it."
            )
        if array.shape != (arrays or [array])[0].shape:
            raise DatasetError(f"{where}: step {step} has shape {array.shape}, step 0 {arrays[0].shape}.")
        arrays.append(array)
    stacked = np.stack(arrays)
    if stacked.dtype.kind == "f":
        for step, array in enumerate(arrays):
            if array.dtype.kind in "iu" and (np.abs(array.astype(np.float64)) > 2**53).any():
                raise DatasetError(f"{where}: step {step} has whole numbers too large to be stored beside real ones.")
    return stacked


def _equal(first: object, second: object) -> bool:
    """Whether two actions hold the same."""
    return value_identity(first) == value_identity(second)


def _is_zero(action: object) -> bool:
    """Whether an action holds nothing but zeros, as a placeholder does."""
    if isinstance(action, Mapping):
        return all(_is_zero(part) for part in action.values())
    array = np.asarray(action)
    return array.dtype.kind in "biuf" and not array.any()
