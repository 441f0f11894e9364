"""Episodes as lists of steps, the way RLDS stores them (Ramos et al. 2021, arXiv 2111.02767).

A step is a dict of ``observation``, ``action``, ``reward``, ``is_last``, ``is_terminal``; other keys are ignored. The
step with ``is_last`` holds the last observation only: its action and reward are invalid, so it is left out, and
``is_terminal`` in it says that the action before ended the episode. Where no step has ``is_last``, all of them count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..errors import DatasetError
from ..spaces import Action, Observation
from .base import LoggedEpisode, Source, Spaces, file_sizes, logged_episode
from .inference import infer_spaces
from .rows import open_rows

Step = Mapping[str, Any]
"""A step of RLDS."""


class RLDSSource(Source):
    """Lists of steps from a file, a dataset on the Hub, or Python.

    A file (``.jsonl``, ``.json``, ``.parquet``) or dataset has one row for each episode, with a list ``steps``.

    Args:
        source: file, folder, Hub id; or the episodes themselves, each a dict with ``steps`` or a plain list of steps.
            For TensorFlow datasets, ``tfds.as_numpy(dataset)`` gives them.
        config: name of the config of a dataset that has several.
        split: name of the split.
        spaces: observation and action space; found in the data by default.

    Raises:
        DatasetError: if a step lacks its observation or action; names the episode and the step.
    """

    def __init__(
        self,
        source: str | Iterable[Mapping[str, Iterable[Step]] | Iterable[Step]],
        config: str | None = None,
        split: str = "train",
        spaces: Spaces | None = None,
    ) -> None:
        if isinstance(source, str):
            self.source, self._episodes = source, open_rows(source, config, split)
            path = Path(source).expanduser()
            sizes = file_sizes([path]) if path.is_file() else {}
        else:
            self.source, sizes = "the episodes", {}
            self._episodes = list(source)
        self.num_episodes = len(self._episodes)
        self.description = {"name": config or Path(self.source).stem}
        self.origin = {
            "source": Path(self.source).name,
            "config": config,
            "split": split,
            "episodes": self.num_episodes,
            "files": sizes,
        }
        self.observation_space, self.action_space = spaces or infer_spaces(
            (f"{self.source}, episode {number}", self._read(number))
            for number in tqdm(range(self.num_episodes), desc="look for the spaces", unit=" episodes", leave=False)
        )

    def _read(self, number: int) -> LoggedEpisode:
        """One episode."""
        where = f"{self.source}, episode {number}"
        row = self._episodes[number]
        steps = list(row["steps"] if isinstance(row, Mapping) else row)
        if not steps or not isinstance(steps[0], Mapping):
            raise DatasetError(f"{where} is no list of steps, each of them with observation, action, reward.")
        last = steps[-1]
        kept = steps[:-1] if last.get("is_last") else steps
        if not kept:
            raise DatasetError(f"{where} has only a last observation, no action; drop it.")
        return logged_episode(
            _stack([_part(step, "observation", index, where) for index, step in enumerate(kept)]),
            _stack([_part(step, "action", index, where) for index, step in enumerate(kept)]),
            np.array([float(_part(step, "reward", index, where)) for index, step in enumerate(kept)]),
            terminated=bool(last.get("is_terminal")),
        )

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


def _stack(values: list[Any]) -> Observation | Action:
    """The values of all steps as arrays with the steps in front; dicts stay dicts."""
    if isinstance(values[0], Mapping):
        return {key: _stack([value[key] for value in values]) for key in values[0]}
    first = values[0]
    if isinstance(first, bytes):
        return np.array([value.decode() for value in values], dtype=object)
    return np.array(values, dtype=object) if isinstance(first, str) else np.array(values)
