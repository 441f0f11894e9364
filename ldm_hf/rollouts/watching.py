"""Compares what environments return with their observation space, many steps at a time."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from gymnasium import spaces

from ..errors import EnvironmentFailure, NotAMemberError, UnsupportedSpaceError
from ..spaces import Leaf, Observation, Space, flatten, holds_all, leaves, members_array
from ..utils.membership import outside

STEPS = 256  # observations that are compared in one go
BYTES = 2**22  # fewer, if they are larger than this in all
CONSTANT = (np.generic, int, float, str)  # not written as a union, which would be built in every step


class Watch:
    """Keeps the observations of one environment until they are compared with their space.

    Args:
        name: name of the environment, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._space: Space | None = None
        self._leaves: list[Leaf] = []
        self._nested = False
        self._kept: list[Any] = []
        self._begins: list[tuple[int, int, int]] = []  # first kept observation of an episode, its step, its seed

    def begin(self, space: Space, seed: int) -> None:
        """Begins an episode; some environments make new spaces when they are reset."""
        if space is not self._space:
            self.check()
            self._space, self._nested = space, isinstance(space, spaces.Dict | spaces.Tuple)
            try:
                self._leaves = leaves(space)
            except UnsupportedSpaceError:  # only a policy of its own can act there
                self._leaves = []
            self._copy = {leaf.path: _same if holds_all(leaf.space) else kept for leaf in self._leaves}
            size = sum(_bytes(leaf.space) for leaf in self._leaves)
            self._limit = max(1, min(STEPS, BYTES // max(1, size)))
        self._begins.append((len(self._kept), 0, seed))

    def add(self, observation: Observation) -> None:
        """Keeps an observation; the environment may write the next one into the same arrays.

        Raises:
            EnvironmentFailure: as `check` does.
        """
        if not self._leaves:
            return
        if self._nested:
            assert self._space is not None
            parts = flatten(self._space, observation)
            self._kept.append({path: copied(parts[path]) for path, copied in self._copy.items()})
        else:
            self._kept.append(self._copy[""](observation))
        if len(self._kept) >= self._limit:
            self.check()

    def check(self) -> None:
        """Compares what was kept.

        Raises:
            EnvironmentFailure: if an observation is no member of the space; names leaf, step and episode.
        """
        values, begins = self._kept, self._begins
        if not values:
            return
        _, step, seed = begins[-1]
        self._kept, self._begins = [], [(0, step + len(values) - begins[-1][0], seed)]
        for leaf in self._leaves:
            found = wrong_member(leaf, [value[leaf.path] for value in values] if self._nested else values)
            if found is not None:
                index, problem = found
                first, step, seed = next(begin for begin in reversed(begins) if begin[0] <= index)
                raise EnvironmentFailure(
                    self._name, "step", f"the observation after {step + index - first} steps: {problem}", seed
                )


def wrong_member(leaf: Leaf, values: list[Any]) -> tuple[int, str] | None:
    """The number of the first value that is no member of a leaf, and what is wrong with it; None if all are members."""
    try:
        if holds_all(leaf.space) and all(_fits(value, leaf.space) for value in values):
            return None
        wrong = outside(leaf.space, members_array(leaf, values))
        if not wrong.any():
            return None
        index = int(wrong.argmax())
        raise NotAMemberError(leaf.path, leaf.space, values[index], index)
    except NotAMemberError as error:
        return error.index, str(error)


def kept(value: object) -> object:
    """A copy of the value of a leaf, if it could change."""
    if isinstance(value, np.ndarray):
        return value.copy()
    return value if isinstance(value, CONSTANT) else copy.deepcopy(value)


def _same(value: object) -> object:
    return value


def _fits(value: object, space: Space) -> bool:
    """Whether a value has exactly the shape and type of a leaf."""
    return isinstance(value, np.ndarray) and value.shape == space.shape and value.dtype == space.dtype


def _bytes(space: Space) -> int:
    """Size of a member of a leaf."""
    return 64 if space.dtype is None or space.shape is None else math.prod(space.shape) * space.dtype.itemsize
