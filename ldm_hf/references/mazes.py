"""Search in grid worlds whose rules are known."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import gymnasium
import numpy as np

from .base import Reference

MOST_STATES = 20_000


class MazeSearch(Reference):
    """Breadth-first search for the first reward in a copy of a MiniGrid world (Chevalier-Boisvert et al. 2023), which it sees as a whole.

    The plan is followed as long as the world goes as planned, and made anew after a foreign action.
    """

    method = "planner"
    worlds = ("MiniGridEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        random = ("DynamicObstaclesEnv", "RoomGridLevel")  # the one moves by itself, the other has its own bot
        return super().fits(env) and not any(base.__name__ in random for base in type(env.unwrapped).__mro__)

    def reset(self, env: gymnasium.Env) -> None:
        self.plan: deque[int] | None = None
        self.hopeless = False  # so that a search without an answer is made once an episode

    def executed(self, action: Any) -> None:
        self.plan = None

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        if not self.plan and not self.hopeless:
            self.plan = self._search(copy.deepcopy(env.unwrapped))
            self.hopeless = not self.plan
        return np.int64(self.plan.popleft() if self.plan else 2)  # 2: forward

    def _search(self, world: Any) -> deque[int]:
        world.gen_obs = lambda: None  # by far the slowest part of a step
        world.max_steps = 10**9
        doors = [cell for cell in world.grid.grid if cell is not None and cell.type == "door"]
        actions = range(int(world.action_space.n))
        start = _state(world, doors)
        came_from: dict[Any, tuple[Any, int] | None] = {_key(start): None}
        frontier = deque([start])
        while frontier and len(came_from) < MOST_STATES:
            state = frontier.popleft()
            for action in actions:
                _restore(world, doors, state)
                _, reward, terminated, _, _ = world.step(action)
                if reward > 0:
                    return _path(came_from, _key(state), action)
                following = _state(world, doors)
                if not terminated and _key(following) not in came_from:
                    came_from[_key(following)] = _key(state), action
                    frontier.append(following)
        return deque()


def _state(world: Any, doors: list[Any]) -> tuple:
    """Place, direction, burden, cells, doors; the things themselves are shared by all states."""
    position = tuple(int(number) for number in world.agent_pos)
    opened = tuple((door.is_open, door.is_locked) for door in doors)
    return position, int(world.agent_dir), world.carrying, tuple(world.grid.grid), opened


def _key(state: tuple) -> tuple:
    position, direction, carrying, cells, opened = state
    return position, direction, id(carrying), hash(tuple(map(id, cells))), opened


def _restore(world: Any, doors: list[Any], state: tuple) -> None:
    world.agent_pos, world.agent_dir, world.carrying, cells, opened = state
    world.grid.grid, world.step_count = list(cells), 0
    for door, (is_open, is_locked) in zip(doors, opened, strict=True):
        door.is_open, door.is_locked = is_open, is_locked


def _path(came_from: dict, key: Any, last: int) -> deque[int]:
    plan = deque([last])
    while (step := came_from[key]) is not None:
        key, action = step
        plan.appendleft(action)
    return plan


class MazeRunner(Reference):
    """Rolls a ball through a maze (Fu et al. 2020): shortest way over cells, then proportional-derivative control to the next of them.

    Args:
        env: a PointMaze.
        gains: on the distance to the next cell and on the speed.
    """

    method = "planner"
    worlds = ("PointMazeEnv",)

    def __init__(self, env: gymnasium.Env, gains: tuple[float, float] = (10.0, 2.0)) -> None:
        self.gains = gains

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        maze: Any = env.unwrapped.maze  # type: ignore[attr-defined]
        place, goal, speed = observation["achieved_goal"], observation["desired_goal"], observation["observation"][2:4]
        here, there = ((int(i), int(j)) for i, j in map(maze.cell_xy_to_rowcol, (place, goal)))
        following = _distances(maze.maze_map, there)
        target = goal
        if here != there and here in following:
            steps = [(here[0] + i, here[1] + j) for i, j in ((0, 1), (1, 0), (0, -1), (-1, 0))]
            nearest = min(
                (cell for cell in steps if cell in following), key=lambda cell: following[cell], default=there
            )
            target = maze.cell_rowcol_to_xy(np.array(nearest))
        force = self.gains[0] * (target - place) - self.gains[1] * speed
        return np.clip(force, env.action_space.low, env.action_space.high).astype(env.action_space.dtype)  # type: ignore[attr-defined]


def _distances(walls: list[list[Any]], goal: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Steps to the goal from every cell that is no wall (1)."""
    found, frontier = {goal: 0}, deque([goal])
    while frontier:
        i, j = frontier.popleft()
        for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            inside = 0 <= cell[0] < len(walls) and 0 <= cell[1] < len(walls[0])
            if inside and walls[cell[0]][cell[1]] != 1 and cell not in found:
                found[cell] = found[i, j] + 1
                frontier.append(cell)
    return found
