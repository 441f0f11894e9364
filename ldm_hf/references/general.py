"""The same action at every step: more than random where doing nothing, or full speed, is half of the art."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..spaces import leaves, unflatten
from .base import Reference

MOST_VARIANTS = 24


class Constant(Reference):
    """Repeats one action; in any environment, a last resort before learning.

    Args:
        env: the environment.
        choice: number of a Discrete space.
        level: of every element of any other space, between 0 (at its lowest) and 1 (at its highest).
    """

    def __init__(self, env: gymnasium.Env, choice: int | None = None, level: float = 0.5) -> None:
        space = env.action_space
        if choice is None:
            self.parts = {leaf.path: _at(leaf.space, level) for leaf in leaves(space)}
        else:
            self.parts = {"": np.int64(choice)}

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return all(
            not isinstance(leaf.space, spaces.Text)
            and (not isinstance(leaf.space, spaces.Box) or leaf.space.is_bounded())
            for leaf in leaves(env.action_space)
        )

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        space = env.action_space
        if isinstance(space, spaces.Discrete):
            step = -(-int(space.n) // MOST_VARIANTS)
            return [{"choice": int(space.start) + number} for number in range(0, int(space.n), step)]
        return [{"level": level} for level in (0.5, 0.0, 1.0)]

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return unflatten(env.action_space, {path: np.copy(part)[()] for path, part in self.parts.items()})


def _at(space: Any, level: float) -> Any:
    if isinstance(space, spaces.Discrete):
        return np.int64(space.start + round(level * (int(space.n) - 1)))
    if isinstance(space, spaces.MultiDiscrete):
        return (space.start + np.round(level * (space.nvec - 1))).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return np.full(space.shape, round(level), space.dtype)
    value = space.low + level * (space.high.astype(float) - space.low)
    return (np.round(value) if np.issubdtype(space.dtype, np.integer) else value).astype(space.dtype)
