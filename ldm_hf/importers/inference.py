"""Spaces of data that come without any: what the values look like decides.

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
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import DatasetError
from .base import Spaces

CHOICES = {"observation": 256, "action": 1000}  # whole numbers below are choices


class Leaf:
    """What has been seen of one leaf so far.

    Args:
        place: for messages.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.shape: tuple[int, ...] | None = None
        self.dtype: np.dtype = np.dtype(bool)
        self.low: Any = None
        self.high: Any = None
        self.characters: set[str] = set()
        self.lengths: set[int] = set()

    def see(self, values: np.ndarray, where: str) -> None:
        """Takes in ``(T, *shape)``.

        Raises:
            DatasetError: if they have another shape or kind than those before, or are not finite.
        """
        shape = values.shape[1:]
        text = values.dtype.kind in "OU"
        if self.shape is None:
            self.shape, self.dtype = shape, np.dtype(object) if text else values.dtype
        if shape != self.shape or text != (self.dtype == object):
            raise DatasetError(
                f"{where}: {self.place} has steps of shape {shape} ({values.dtype}), earlier ones have {self.shape} ({self.dtype})."
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

    def space(self, role: str) -> gymnasium.Space:
        """The leaf's space, by the table above."""
        assert self.shape is not None
        if self.dtype == object:
            return spaces.Text(
                max(1, *self.lengths), min_length=min(self.lengths), charset="".join(sorted(self.characters)) or " "
            )
        if self.dtype == bool:
            return spaces.MultiBinary(self.shape) if self.shape else spaces.Discrete(2)
        if np.issubdtype(self.dtype, np.floating):
            dtype: Any = np.float64 if self.dtype == np.float64 and _needs_double(self.low, self.high) else np.float32
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
    """Single precision does not tell whole numbers from 2^24 on apart."""
    return bool(max(np.abs(low).max(), np.abs(high).max()) >= 2**24)


def infer_spaces(episodes: Iterable[tuple[str, dict[str, Any]]]) -> Spaces:
    """Observation and action space of ``(where it stands, episode)`` pairs.

    Raises:
        DatasetError: if there are none, or they differ in shape.
    """
    trees: dict[str, Any] = {}
    for where, episode in episodes:
        for role in ("observation", "action"):
            trees[role] = _see(trees.get(role), episode[role], role, where)
    if not trees:
        raise DatasetError("there is no episode to import.")
    return _build(trees["observation"], "observation"), _build(trees["action"], "action")


def _see(tree: Any, values: Any, place: str, where: str) -> Any:
    if isinstance(values, dict):
        tree = {} if tree is None else tree
        if tree and tree.keys() != values.keys():
            raise DatasetError(f"{where}: {place} has the parts {sorted(values)}, earlier ones have {sorted(tree)}.")
        return {key: _see(tree.get(key), value, f"{place}.{key}", where) for key, value in values.items()}
    leaf = Leaf(place) if tree is None else tree
    leaf.see(values, where)
    return leaf


def _build(tree: Any, role: str) -> gymnasium.Space:
    if isinstance(tree, dict):
        return spaces.Dict({key: _build(child, role) for key, child in tree.items()})
    return tree.space(role)
