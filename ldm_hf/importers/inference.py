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

from collections.abc import Iterable

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import DatasetError
from ..spaces import Action, Observation
from .base import LoggedEpisode, Spaces

CHOICES = {"observation": 256, "action": 1000}  # whole numbers below these are choices


class SeenLeaf:
    """Shape, type and range of the values of one leaf that have been seen so far.

    Args:
        place: name of the leaf, for messages.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.shape: tuple[int, ...] | None = None
        self.dtype: np.dtype = np.dtype(bool)
        self.low: np.ndarray | None = None
        self.high: np.ndarray | None = None
        self.characters: set[str] = set()
        self.lengths: set[int] = set()

    def see(self, values: np.ndarray, where: str) -> None:
        """Takes in the values ``(T, *shape)`` of an episode.

        Raises:
            DatasetError: if they have another shape or kind than those before, or are not finite.
        """
        shape = values.shape[1:]
        text = values.dtype.kind in "OU"
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
        self.dtype = np.promote_types(self.dtype, values.dtype)
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
            double = self.dtype == np.float64 and _needs_double(self.low, self.high)
            dtype: type[np.floating] = np.float64 if double else np.float32
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


def _needs_double(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether numbers are so large (from 2^24 on) that single precision rounds whole numbers."""
    return bool(max(np.abs(low).max(), np.abs(high).max()) >= 2**24)


Seen = SeenLeaf | dict[str, "Seen"]
"""One leaf, or the parts of a Dict."""


def infer_spaces(episodes: Iterable[tuple[str, LoggedEpisode]]) -> Spaces:
    """Infers observation and action space from all episodes.

    Args:
        episodes: pairs of the name of an episode, for messages, and the episode.

    Raises:
        DatasetError: if there are none, or they differ in shape.
    """
    observation: Seen | None = None
    action: Seen | None = None
    for where, episode in episodes:
        observation = _see(observation, episode["observation"], "observation", where)
        action = _see(action, episode["action"], "action", where)
    if observation is None or action is None:
        raise DatasetError("there is no episode to import.")
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
    leaf.see(values, where)
    return leaf


def _build(seen: Seen, role: str) -> gymnasium.Space[object]:
    """The space of what has been seen."""
    if isinstance(seen, dict):
        return spaces.Dict({key: _build(child, role) for key, child in seen.items()})
    return seen.space(role)
