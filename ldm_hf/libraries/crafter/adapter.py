"""Crafter (Hafner 2021): survival in an open world, from pixels."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class CrafterEnv(gymnasium.Env):
    """The game with Gymnasium's interface; a seeded reset makes its world from the seed.

    Args:
        area: size of the world.
        length: steps of an episode.
    """

    def __init__(self, area: tuple[int, int] = (64, 64), length: int = 10_000, render_mode: str | None = None) -> None:
        self.options: dict[str, Any] = {"area": tuple(area), "length": length}
        self.render_mode = render_mode
        self._make(0)
        self.observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.action_space = spaces.Discrete(int(self._game.action_space.n))

    def _make(self, seed: int) -> None:
        import crafter

        self._game = crafter.Env(seed=seed, **self.options)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._make(seed % 2**31)
        return self._game.reset(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, over, info = self._game.step(int(action))
        died = info["discount"] == 0
        return observation, float(reward), bool(over and died), bool(over and not died), {}
