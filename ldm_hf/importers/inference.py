"""Spaces of data that come without any, inferred from the values.

| values | observation | action |
| --- | --- | --- |
| real numbers | unbounded Box | Box from the smallest to the largest |
| whole numbers from 0 to 255 at most (an action: to 999) | Discrete, MultiDiscrete | the same |
| other whole numbers | Box from the smallest to the largest | the same |
| bytes with two axes or more | pixels: Box from 0 to 255 | |
| truth values | Discrete(2), MultiBinary | the same |
| strings | Text of the characters and the length that occur | the same |
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import gymnasium
import numpy as np
from gymnasium import spaces
from tqdm.auto import tqdm

from ..errors import DatasetError
from ..spaces import Action, Observation
from .arrays import as_array
from .base import LoggedEpisode, Spaces, reading
from .precision import single_suffices

CHOICES = {"observation": 256, "action": 1000}  # whole numbers below these are choices
SHOWN = 50  # fewer episodes need no bar


class SeenLeaf:
    """Shape, type and range of the values of one leaf that have been seen so far.

    Args:
        place: name of the leaf, for messages.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.shape: tuple[int, ...] | None = None
        self.dtype: np.dtype = np.dtype(bool)
        self.double = False
        self.low: np.ndarray | None = None
        self.high: np.ndarray | None = None
        self.characters: set[str] = set()
        self.lengths: set[int] = set()

    def see(self, values: np.ndarray, where: str) -> None:
        """Takes in the values ``(T, *shape)`` of an episode.

        Raises:
            DatasetError: if they have another shape or kind than those before, or are not finite.
        """
        if not len(values):
            raise DatasetError(f"{where} has no steps; drop it.")
        shape = values.shape[1:]
        text = values.dtype.kind in "OU"
        if not text and (values.dtype.kind not in "biuf" or not values.size):
            raise DatasetError(
                f"{where}: {self.place} holds {values.dtype} of shape {shape}, no numbers; leave it out."
            )
        if text and (shape or not all(isinstance(value, str) for value in values)):
            raise DatasetError(f"{where}: {self.place} holds neither numbers nor one text a step; repair or drop it.")
        if self.shape is None:
            self.shape, self.dtype = shape, np.dtype(object) if text else values.dtype
        if shape != self.shape or text != (self.dtype == object):
            raise DatasetError(
                f"{where}: {self.place} has steps of shape {shape} ({values.dtype}), "
                f"earlier ones have {self.shape} ({self.dtype})."
            )
        if text:
            self.lengths.update(len(value) for value in values)
            self.characters.update(*values)
            return
        if not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DatasetError(f"{where}, step {step}: {self.place} is NaN or infinite; repair or drop this episode.")
        if values.dtype.kind == "u" and values.dtype.itemsize == 8 and values.max() > np.iinfo(np.int64).max:
            raise DatasetError(f"{where}: {self.place} has whole numbers beyond 63 bits, which no space can hold.")
        self.dtype = np.promote_types(self.dtype, values.dtype)
        if values.dtype.kind == "f" and values.dtype.itemsize > 4 and not self.double:
            self.double = not single_suffices(values)
        elif values.dtype.kind in "iu":  # beside real numbers in other episodes
            self.double = self.double or max(abs(int(values.min())), abs(int(values.max()))) >= 2**24
        low, high = values.min(axis=0), values.max(axis=0)
        self.low = low if self.low is None else np.minimum(self.low, low)
        self.high = high if self.high is None else np.maximum(self.high, high)

    def space(self, role: str) -> gymnasium.Space[object]:
        """The space of the leaf, by the table above."""
        assert self.shape is not None
        if self.dtype == object:
            return spaces.Text(
                max(1, *self.lengths), min_length=min(self.lengths), charset="".join(sorted(self.characters)) or " "
            )
        if self.dtype == bool:
            return spaces.MultiBinary(self.shape) if self.shape else spaces.Discrete(2)
        assert self.low is not None and self.high is not None
        if np.issubdtype(self.dtype, np.floating):
            dtype: type[np.floating] = np.float64 if self.double else np.float32
            if role == "observation":
                return spaces.Box(-np.inf, np.inf, self.shape, dtype)
            return spaces.Box(np.asarray(self.low, dtype), np.asarray(self.high, dtype), self.shape, dtype)
        if self.dtype == np.uint8 and len(self.shape) >= 2:
            return spaces.Box(0, 255, self.shape, np.uint8)
        if self.low.min() >= 0 and self.high.max() < CHOICES[role]:
            return (
                spaces.MultiDiscrete(self.high.astype(np.int64) + 1)
                if self.shape
                else spaces.Discrete(int(self.high) + 1)
            )
        return spaces.Box(np.asarray(self.low, np.int64), np.asarray(self.high, np.int64), self.shape, np.int64)


Seen = SeenLeaf | dict[str, "Seen"]
"""One leaf, or the parts of a Dict."""


def infer_spaces(
    read: Callable[[int], LoggedEpisode], count: int, name: str, skipped: dict[int, str] | None = None
) -> Spaces:
    """Infers observation and action space from all episodes.

    Args:
        read: reads an episode by its number.
        count: number of episodes.
        name: name of the source, for messages.
        skipped: takes the reasons why episodes were left out; by default they are refused.

    Raises:
        DatasetError: if there are none, or they differ in shape.
    """
    observation: Seen | None = None
    action: Seen | None = None
    for number in tqdm(range(count), desc="look for the spaces", unit=" episodes", leave=False, disable=count < SHOWN):
        where = f"{name}, episode {number}"
        try:
            with reading(where):
                episode = read(number)
            if skipped is not None:  # an episode that is left out must not leave anything
                observation, action = copy.deepcopy((observation, action))
            seen = _see(observation, episode["observation"], "observation", where)
            observation, action = seen, _see(action, episode["action"], "action", where)
        except DatasetError as error:
            if skipped is None:
                raise
            skipped[number] = str(error)
    if observation is None or action is None:
        raise DatasetError(f"{name}: there is no episode to import.")
    return _build(observation, "observation"), _build(action, "action")


def _see(seen: Seen | None, values: Observation | Action, place: str, where: str) -> Seen:
    """Takes in the values of an episode; ``seen`` is None for the first one."""
    if seen is not None and isinstance(seen, dict) != isinstance(values, dict):
        raise DatasetError(f"{where}: {place} is one value here and several parts in other episodes, or vice versa.")
    if isinstance(values, dict):
        parts = seen if isinstance(seen, dict) else {}
        if parts and parts.keys() != values.keys():
            raise DatasetError(f"{where}: {place} has the parts {sorted(values)}, earlier ones have {sorted(parts)}.")
        return {key: _see(parts.get(key), value, f"{place}.{key}", where) for key, value in values.items()}
    leaf = seen if isinstance(seen, SeenLeaf) else SeenLeaf(place)
    leaf.see(as_array(values, f"{where}: {place}"), where)
    return leaf


def _build(seen: Seen, role: str) -> gymnasium.Space[object]:
    """The space of what has been seen."""
    if isinstance(seen, dict):
        return spaces.Dict({key: _build(child, role) for key, child in seen.items()})
    return seen.space(role)
