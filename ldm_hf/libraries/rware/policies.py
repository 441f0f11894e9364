"""A team of warehouse robots that one policy leads, for RWARE (Papoudakis et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.search import AHEAD, FORWARD, LEFT, NONE, RIGHT, turn_or_go
from ldm_hf.spaces import Action, Info, Observation

if TYPE_CHECKING:
    from rware.warehouse import Agent, Shelf, Warehouse

TOGGLE = 4  # action that takes up or puts down a shelf; the others are those of `turn_or_go`
SHELVES = 1  # layer of the grid of a warehouse
TURNS = (0, 3, 1, 2)  # the library's directions in the order of `AHEAD`


class Warehousing(Reference):
    """Each robot fetches the nearest requested shelf that no other robot is after.

    It carries the shelf to the nearest workstation and puts it down in the nearest free place. Robots go round each
    other; where that is impossible, they do something at random.
    """

    name = "warehousing"
    worlds = ("Warehouse",)

    def reset(self, env: gymnasium.Env) -> None:
        self.generator = np.random.default_rng(0)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        shelves = world.grid[SHELVES] > 0
        aims = self._aims(world, shelves)
        taken = {(robot.x, robot.y) for robot in world.agents}
        actions = []
        for robot, goals in zip(world.agents, aims, strict=True):
            here, direction = (robot.x, robot.y), TURNS.index(robot.dir.value)
            action: int | None = TOGGLE if here in goals else NONE
            if goals and here not in goals:
                blocked = shelves.copy() if robot.carrying_shelf else np.zeros_like(shelves)
                for x, y in taken:
                    if 0 <= y < blocked.shape[0] and 0 <= x < blocked.shape[1]:
                        blocked[y, x] = True
                action = turn_or_go(blocked, here, direction, goals)
            if action is None:
                action = int(self.generator.choice([FORWARD, LEFT, RIGHT]))
            if action == FORWARD:
                # nobody else goes there
                taken.add((robot.x + AHEAD[direction][0], robot.y + AHEAD[direction][1]))
            actions.append(np.int64(action))
        return tuple(actions)

    def _aims(self, world: Warehouse, shelves: np.ndarray) -> list[set[tuple[int, int]]]:
        """The cells each robot may go to: to take up or put down a shelf, or to be at a workstation with one."""
        free = {(int(x), int(y)) for y, x in np.argwhere(~shelves & (world.highways == 0))}
        loads = [robot.carrying_shelf for robot in world.agents]
        aims: list[set[tuple[int, int]]] = []
        for robot, load in zip(world.agents, loads, strict=True):
            if load and load not in world.request_queue and not world._is_highway(robot.x, robot.y):
                aims.append({(robot.x, robot.y)})
            else:
                aims.append(set() if load is None else set(world.goals) if load in world.request_queue else free)
        wanted = [shelf for shelf in world.request_queue if shelf not in loads]
        pairs = [(i, shelf) for i, load in enumerate(loads) if load is None for shelf in wanted]
        for i, shelf in sorted(pairs, key=lambda pair: _distance(world.agents[pair[0]], pair[1])):
            if not aims[i] and shelf in wanted:
                wanted.remove(shelf)
                aims[i] = {(shelf.x, shelf.y)}
        return aims


def _distance(robot: Agent, shelf: Shelf) -> int:
    return int(abs(robot.x - shelf.x) + abs(robot.y - shelf.y))
