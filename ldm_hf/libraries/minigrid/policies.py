"""Search in mazes whose rules are known."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference

MOST_STATES = 50_000
PICKUP, DROP, TOGGLE = 3, 4, 5
NONE, FORWARD, LEFT, RIGHT = range(4)  # of `turn_or_go`
AHEAD = ((0, -1), (1, 0), (0, 1), (-1, 0))  # up, right, down, left


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
        board = _Board(world)
        start = board.state()
        came_from: dict[_State, tuple[_State, int] | None] = {start: None}
        frontier = deque([start])
        while frontier and len(came_from) < MOST_STATES:
            state = frontier.popleft()
            for action in board.actions(state):
                reward, terminated = board.step(state, action)
                if reward > 0:
                    return _path(came_from, state, action)
                following = board.state()
                if not terminated and following not in came_from:
                    came_from[following] = state, action
                    frontier.append(following)
        return deque()


_State = tuple[tuple[int, int], int, int]  # place, direction, number of the situation


class _Board:
    """A world that can be put into any state it was in before.

    What only actions on things change (the burden, the cells, the doors) is a numbered situation; most steps leave it as it is.
    """

    def __init__(self, world: Any) -> None:
        world.gen_obs = lambda: None  # by far the slowest part of a step
        world.max_steps = 10**9
        self.world = world
        self.doors = [cell for cell in world.grid.grid if cell is not None and cell.type == "door"]
        self.situations: list[tuple] = []
        self.numbers: dict[tuple, int] = {}
        self.now = self._number()

    def _number(self) -> int:
        """Of the present situation; things are told apart by identity."""
        world = self.world
        opened = tuple((door.is_open, door.is_locked) for door in self.doors)
        key = id(world.carrying), tuple(map(id, world.grid.grid)), opened
        if key not in self.numbers:
            self.numbers[key] = len(self.situations)
            self.situations.append((world.carrying, tuple(world.grid.grid), opened))
        return self.numbers[key]

    def state(self) -> _State:
        i, j = self.world.agent_pos
        return (int(i), int(j)), int(self.world.agent_dir), self.now

    def actions(self, state: _State) -> list[int]:
        """Those that may do something: turns, forward and done; pick up, drop and toggle where there is something to act on."""
        self._restore(state)
        actions = [0, 1, 2]
        if self.world.action_space.n > TOGGLE:
            before_it = self.world.grid.get(*self.world.front_pos)
            actions += [PICKUP, TOGGLE] if before_it is not None else [DROP] if self.world.carrying is not None else []
        return actions + list(range(TOGGLE + 1, int(self.world.action_space.n)))

    def step(self, state: _State, action: int) -> tuple[float, bool]:
        """Reward and end of an action in a state."""
        self._restore(state)
        _, reward, terminated, _, _ = self.world.step(action)
        if PICKUP <= action <= TOGGLE:
            self.now = self._number()
        return reward, terminated

    def _restore(self, state: _State) -> None:
        self.world.agent_pos, self.world.agent_dir, situation = state
        self.world.step_count = 0
        if situation != self.now:
            self.world.carrying, cells, opened = self.situations[situation]
            self.world.grid.grid, self.now = list(cells), situation
            for door, (is_open, is_locked) in zip(self.doors, opened, strict=True):
                door.is_open, door.is_locked = is_open, is_locked


def _path(came_from: dict, state: Any, last: int) -> deque[int]:
    plan = deque([last])
    while (step := came_from[state]) is not None:
        state, action = step
        plan.appendleft(action)
    return plan


class ObstacleDodger(Reference):
    """Walks round MiniGrid's moving obstacles by the way that is free now, and waits, turning, where there is none: whoever does not walk into one is safe."""

    method = "planner"
    worlds = ("DynamicObstaclesEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        world: Any = env.unwrapped
        cells = [cell.type if cell else "" for cell in world.grid.grid]
        kinds = np.array(cells).reshape(world.grid.height, world.grid.width)
        goals = {(int(x), int(y)) for y, x in np.argwhere(kinds == "goal")}
        blocked = (kinds != "") & (kinds != "goal")
        here = int(world.agent_pos[0]), int(world.agent_pos[1])
        action = turn_or_go(blocked, here, (int(world.agent_dir) + 1) % 4, goals)
        return np.int64({LEFT: 0, RIGHT: 1, FORWARD: 2}.get(action or LEFT, 0))


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
        distances = _distances(maze.maze_map, there)
        target = goal
        if here != there and here in distances:
            target = maze.cell_rowcol_to_xy(np.array(_following(distances, here, there)))
        force = self.gains[0] * (target - place) - self.gains[1] * speed
        return np.clip(force, env.action_space.low, env.action_space.high).astype(env.action_space.dtype)  # type: ignore[attr-defined]


class PointRunner(Reference):
    """Moves OGBench's point (Park et al. 2025) along the shortest way over cells, round the teleporters, one of whose ends is a trap."""

    method = "planner"
    reach = 0.2  # metres that it moves in a step

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return {"MazeEnv", "PointEnv"} <= {base.__name__ for base in type(env.unwrapped).__mro__}

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        maze: Any = env.unwrapped
        place, goal = maze.get_xy(), maze.cur_goal_xy
        walls = maze.maze_map.copy()
        for cell in (maze._teleport_info or {}).get("teleport_in_ijs", ()):
            walls[cell] = 1
        here, there = maze.xy_to_ij(place), maze.xy_to_ij(goal)
        following = _following(_distances(walls, there), here, there)
        target = goal if here == there else np.array(maze.ij_to_xy(following))
        return np.clip((target - place) / self.reach, -1, 1).astype(np.float32)


def _following(
    distances: dict[tuple[int, int], int], here: tuple[int, int], there: tuple[int, int]
) -> tuple[int, int]:
    """The cell beside this one that is nearest to the goal; the goal itself if there is none."""
    beside = [(here[0] + i, here[1] + j) for i, j in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    return min((cell for cell in beside if cell in distances), key=lambda cell: distances[cell], default=there)


def _distances(walls: Any, goal: tuple[int, int]) -> dict[tuple[int, int], int]:
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


def turn_or_go(blocked: np.ndarray, start: tuple[int, int], direction: int, goals: set[tuple[int, int]]) -> int | None:
    """The first action of the shortest way, turns included: none, forward, left or right.

    Args:
        blocked: ``(rows, columns)``.
        start: column and row.
        direction: index into `AHEAD`.
        goals: columns and rows.

    Returns:
        None if there is no way.
    """
    frontier = deque([(start, direction)])
    first: dict[tuple, int] = {(start, direction): NONE}
    while frontier:
        state = frontier.popleft()
        (x, y), facing = state
        if (x, y) in goals:
            return first[state]
        right, down = AHEAD[facing]
        ahead = x + right, y + down
        inside = 0 <= ahead[1] < blocked.shape[0] and 0 <= ahead[0] < blocked.shape[1]
        following = [(LEFT, ((x, y), (facing - 1) % 4)), (RIGHT, ((x, y), (facing + 1) % 4))]
        if inside and not blocked[ahead[1], ahead[0]]:
            following.insert(0, (FORWARD, (ahead, facing)))
        for action, after in following:
            if after not in first:
                first[after] = first[state] or action
                frontier.append(after)
    return None
