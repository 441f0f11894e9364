"""The shortest way through a Safety Gridworld."""

from __future__ import annotations

from collections import deque
from copy import deepcopy

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation


class SafeWay(Reference):
    """Tries all ways in copies of the grid, breadth first, up to the first step that is rewarded; never into water."""

    name = "safe_way"
    method = "planner"
    worlds = ("GridWorldEnv", "SokobanGridWorldEnv", "IslandNavigationEnv")

    def reset(self, env: gymnasium.Env) -> None:
        self._ways: dict[str, int] = {}

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        state = str(observation)
        if state not in self._ways:
            self._search(inside(env), state)
        return np.int64(self._ways[state])

    def _search(self, grid: gymnasium.Env, state: str) -> None:
        came: dict[str, tuple[str, int]] = {}
        queue = deque([(state, grid)])
        while queue:
            here, world = queue.popleft()
            for action in range(4):
                copy = deepcopy(world)
                observation, reward, terminated, *_ = copy.step(action)
                there = str(observation)
                if float(reward) > 0:
                    self._remember(came, state, here, action)
                    return
                if not terminated and there not in came and there != state:
                    came[there] = here, action
                    queue.append((there, copy))
        self._ways[state] = 0  # there is no way

    def _remember(self, came: dict[str, tuple[str, int]], start: str, last: str, action: int) -> None:
        """Notes the actions of the way that ends with ``action`` in ``last``."""
        self._ways[last] = action
        while last != start:
            last, action = came[last]
            self._ways[last] = action
