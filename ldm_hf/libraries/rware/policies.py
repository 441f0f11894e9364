"""Teams that one policy leads."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.libraries.minigrid.policies import AHEAD, FORWARD, LEFT, RIGHT, turn_or_go
from ldm_hf.references.base import Reference

NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
TOGGLE = 4  # of a robot, whose other actions are those of `turn_or_go`
SHELVES = 1  # layer of the grid of a warehouse
TURNS = (0, 3, 1, 2)  # its directions in the order of `AHEAD`
MOVES = {NORTH: (-1, 0), SOUTH: (1, 0), WEST: (0, -1), EAST: (0, 1)}


class Foraging(Reference):
    """Level-based foraging (Papoudakis et al. 2021): all go to the food nearest to all of them, and load it once they are strong enough."""

    worlds = ("ForagingEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        world: Any = env.unwrapped
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
            action = (
                (LOAD if enough else NONE) if near else self._step(world.field, tuple(place), tuple(target), taken)
            )
            if action in MOVES:
                taken.add((place[0] + MOVES[action][0], place[1] + MOVES[action][1]))  # nobody else goes there
            actions.append(np.int64(action))
        return tuple(actions)

    def _step(self, field: np.ndarray, start: tuple, target: tuple, taken: set[tuple]) -> int:
        """The first step of the shortest way to a free cell beside the food; standing still if there is none."""
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


class Warehousing(Reference):
    """Robots of a warehouse (Papoudakis et al. 2021): each fetches the nearest requested shelf that no other is after, carries it to the nearest
    workstation and puts it down in the nearest free place. They go round each other; where that is impossible, they try something at random."""

    worlds = ("Warehouse",)

    def reset(self, env: gymnasium.Env) -> None:
        self.generator = np.random.default_rng(0)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        world: Any = env.unwrapped
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
                taken.add((robot.x + AHEAD[direction][0], robot.y + AHEAD[direction][1]))  # nobody else goes there
            actions.append(np.int64(action))
        return tuple(actions)

    def _aims(self, world: Any, shelves: np.ndarray) -> list[set[tuple[int, int]]]:
        """Where each robot wants to go: to toggle there what it carries, or at the workstations just to be there."""
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


def _distance(one: Any, other: Any) -> int:
    return abs(one.x - other.x) + abs(one.y - other.y)
