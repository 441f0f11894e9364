"""The game Crafter (Hafner 2021) as a Gymnasium environment."""

from __future__ import annotations

from collections import defaultdict

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.spaces import Action, Info


class _InOrder(dict[object, None]):
    """A set that is iterated in the order in which its members came."""

    def add(self, member: object) -> None:
        self[member] = None

    def remove(self, member: object) -> None:
        del self[member]


class CrafterEnv(gymnasium.Env):
    """The game with Gymnasium's interface; a seeded reset makes its world from the seed.

    Args:
        area: width and height of the world in cells.
        length: steps of an episode.
        render_mode: not used.
    """

    def __init__(self, area: tuple[int, int] = (64, 64), length: int = 10_000, render_mode: str | None = None) -> None:
        self.options: dict[str, object] = {"area": tuple(area), "length": length}
        self.render_mode = render_mode
        self._make(0)
        self.observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.action_space = spaces.Discrete(int(self._game.action_space.n))

    def _make(self, seed: int) -> None:
        import crafter

        self._game = crafter.Env(seed=seed, **self.options)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        if seed is not None:
            self._make(seed % 2**31)
        observation = self._game.reset()
        # The game picks the creatures that disappear from sets of objects, whose order is that of their addresses.
        world = self._game._world
        ordered: defaultdict[object, _InOrder] = defaultdict(_InOrder)
        for creature in world.objects:
            ordered[world.chunk_key(creature.pos)].add(creature)
        world._chunks = ordered
        return observation, {}

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        observation, reward, over, info = self._game.step(int(action))
        died = info["discount"] == 0
        return observation, float(reward), bool(over and died), bool(over and not died), {}
