"""A team of foragers that one policy leads, for level-based foraging (Papoudakis et al. 2021)."""

from __future__ import annotations

from collections import deque

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

Cell = tuple[int, int]
"""Row and column."""
NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)  # actions
MOVES = {NORTH: (-1, 0), SOUTH: (1, 0), WEST: (0, -1), EAST: (0, 1)}  # rows down, columns right


class Foraging(Reference):
    """All go to the food that is nearest to all of them together, and load it once they are strong enough."""

    name = "foraging"
    worlds = ("ForagingEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        food = np.argwhere(world.field > 0)
        if not len(food):
            return tuple(np.int64(NONE) for _ in world.players)
        places = np.array([player.position for player in world.players])
        target = food[np.abs(food[:, None] - places[None]).sum((1, 2)).argmin()]
        level = world.field[tuple(target)]
        beside = np.abs(places - target).sum(1) == 1
        enough = sum(player.level for player, near in zip(world.players, beside, strict=True) if near) >= level
        taken = {tuple(place) for place in places}
        actions = []
        for place, near in zip(places, beside, strict=True):
            waiting = LOAD if enough else NONE
            action = waiting if near else self._step(world.field, tuple(place), tuple(target), taken)
            if action in MOVES:
                # nobody else goes there
                taken.add((place[0] + MOVES[action][0], place[1] + MOVES[action][1]))
            actions.append(np.int64(action))
        return tuple(actions)

    def _step(self, field: np.ndarray, start: Cell, target: Cell, taken: set[Cell]) -> int:
        """The first step of the shortest way to a free cell beside the food; `NONE` if there is no way."""
        frontier, first = deque([start]), {start: NONE}
        while frontier:
            cell = frontier.popleft()
            if abs(cell[0] - target[0]) + abs(cell[1] - target[1]) == 1:
                return first[cell]
            for action, (down, right) in MOVES.items():
                after = (cell[0] + down, cell[1] + right)
                inside = 0 <= after[0] < field.shape[0] and 0 <= after[1] < field.shape[1]
                if inside and field[after] == 0 and after not in taken and after not in first:
                    first[after] = first[cell] or action
                    frontier.append(after)
        return NONE
