"""Searches in the worlds of MiniGrid (Chevalier-Boisvert et al. 2023), and the bot of BabyAI."""

from __future__ import annotations

import copy
from collections import deque
from functools import cache
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.search import FORWARD, LEFT, RIGHT, turn_or_go
from ldm_hf.spaces import Action, Info, Observation

World = Any
"""A MiniGridEnv, of whose inside this file knows more than its types say."""
State = tuple[tuple[int, int], int, int]
"""Place, direction, number of the situation, see `_Board`."""
SearchTree = dict[State, tuple[State, int] | None]
"""The state before each one that was reached, and the action between them; None for the start."""
PICKUP, DROP, TOGGLE = 3, 4, 5
MOST_STATES = 50_000  # of a search
MOST_SEARCHES = 100  # of the BabyAI bot for one action; ten at the most were seen where a plan ends


class MazeSearch(Reference):
    """Breadth-first search for the first reward in a copy of the world, which it sees as a whole.

    The plan is followed as long as the world goes as planned; after a foreign action, a new one is made.
    """

    name = "maze_search"
    method = "planner"
    worlds = ("MiniGridEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        # the first moves by itself, the second has its own bot
        others = ("DynamicObstaclesEnv", "RoomGridLevel")
        return super().fits(env) and not any(base.__name__ in others for base in type(env.unwrapped).__mro__)

    def reset(self, env: gymnasium.Env) -> None:
        self.plan: deque[int] | None = None
        self.hopeless = False  # whether a search found nothing: none is made again in this episode

    def executed(self, action: Action) -> None:
        self.plan = None

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        if not self.plan and not self.hopeless:
            self.plan = self._search(copy.deepcopy(env.unwrapped))
            self.hopeless = not self.plan
        return np.int64(self.plan.popleft() if self.plan else 2)  # 2: forward

    def _search(self, world: World) -> deque[int]:
        board = _Board(world)
        start = board.state()
        came_from: SearchTree = {start: None}
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


class _Board:
    """A world that can be put into any state it was in before.

    What only actions on things change (what is carried, the cells, the doors) is a numbered situation; most steps
    leave it as it is.
    """

    def __init__(self, world: World) -> None:
        world.gen_obs = lambda: None  # by far the slowest part of a step
        world.max_steps = 10**9
        self.world = world
        self.doors = [cell for cell in world.grid.grid if cell is not None and cell.type == "door"]
        self.situations: list[tuple[object, tuple[object, ...], tuple[tuple[bool, bool], ...]]] = []
        self.numbers: dict[tuple[object, ...], int] = {}
        self.now = self._number()

    def _number(self) -> int:
        """The number of the present situation; things are compared by identity."""
        world = self.world
        opened = tuple((door.is_open, door.is_locked) for door in self.doors)
        key = id(world.carrying), tuple(map(id, world.grid.grid)), opened
        if key not in self.numbers:
            self.numbers[key] = len(self.situations)
            self.situations.append((world.carrying, tuple(world.grid.grid), opened))
        return self.numbers[key]

    def state(self) -> State:
        i, j = self.world.agent_pos
        return (int(i), int(j)), int(self.world.agent_dir), self.now

    def actions(self, state: State) -> list[int]:
        """The actions that may have an effect: pick up, drop and toggle only where there is something to act on."""
        self._restore(state)
        actions = [0, 1, 2]
        if self.world.action_space.n > TOGGLE:
            before_it = self.world.grid.get(*self.world.front_pos)
            actions += [PICKUP, TOGGLE] if before_it is not None else [DROP] if self.world.carrying is not None else []
        return actions + list(range(TOGGLE + 1, int(self.world.action_space.n)))

    def step(self, state: State, action: int) -> tuple[float, bool]:
        """The reward of an action in a state, and whether it ends the episode."""
        self._restore(state)
        _, reward, terminated, _, _ = self.world.step(action)
        if PICKUP <= action <= TOGGLE:
            self.now = self._number()
        return reward, terminated

    def _restore(self, state: State) -> None:
        self.world.agent_pos, self.world.agent_dir, situation = state
        self.world.step_count = 0
        if situation != self.now:
            self.world.carrying, cells, opened = self.situations[situation]
            self.world.grid.grid, self.now = list(cells), situation
            for door, (is_open, is_locked) in zip(self.doors, opened, strict=True):
                door.is_open, door.is_locked = is_open, is_locked


def _path(came_from: SearchTree, state: State, last: int) -> deque[int]:
    """The actions that lead to a state, and the last one after it."""
    plan = deque([last])
    while (step := came_from[state]) is not None:
        state, action = step
        plan.appendleft(action)
    return plan


class ObstacleDodger(Reference):
    """Walks round the moving obstacles by the way that is free now, and waits, turning, where there is none.

    Whoever does not walk into an obstacle is safe.
    """

    name = "obstacle_dodger"
    method = "planner"
    worlds = ("DynamicObstaclesEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        cells = [cell.type if cell else "" for cell in world.grid.grid]
        kinds = np.array(cells).reshape(world.grid.height, world.grid.width)
        goals = {(int(x), int(y)) for y, x in np.argwhere(kinds == "goal")}
        blocked = (kinds != "") & (kinds != "goal")
        here = int(world.agent_pos[0]), int(world.agent_pos[1])
        action = turn_or_go(blocked, here, (int(world.agent_dir) + 1) % 4, goals)
        return np.int64({LEFT: 0, RIGHT: 1, FORWARD: 2}.get(action or LEFT, 0))


class EndlessPlanError(Exception):
    """The bot goes round in circles."""


@cache
def _bot_class() -> type:
    from minigrid.utils.baby_ai_bot import BabyAIBot as Bot

    class LimitedBot(Bot):
        """The bot with an end to its searches: among locked doors, it may replace one subgoal by another for ever."""

        def replan(self, action_taken: Action = None) -> Action:
            self.last_search = self.bfs_counter + MOST_SEARCHES
            return super().replan(action_taken)

        def _breadth_first_search(self, *args: object, **kwargs: object) -> object:
            if self.bfs_counter >= self.last_search:
                raise EndlessPlanError
            return super()._breadth_first_search(*args, **kwargs)

    return LimitedBot


class BabyAIBot(Reference):
    """The bot of Chevalier-Boisvert et al. 2019.

    It re-plans after foreign actions and starts over where that confuses it.
    """

    name = "babyai_bot"
    method = "scripted"
    worlds = ("RoomGridLevel",)

    def reset(self, env: gymnasium.Env) -> None:
        self.bot: Any = None
        self.last: Action = None
        self.lost = False

    def executed(self, action: Action) -> None:
        self.last = action

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        # if there is no plan (the goal was carried off), the mission is lost anyway
        action = world.actions.forward
        if not self.lost:
            try:
                action = self._planned(env, world)
            except EndlessPlanError:
                self.lost = True  # it would take as long at every step
            except Exception:
                pass
        self.last = np.int64(action)
        return self.last

    def _planned(self, env: gymnasium.Env, world: World) -> Action:
        if self.bot is not None:
            try:
                return self.bot.replan(int(self.last))
            except EndlessPlanError:
                raise
            except Exception:  # it asserts that the world is as it left it; a new bot looks again
                self.bot = None
                if world.carrying is not None and world.grid.get(*world.front_pos) is None:
                    return world.actions.drop  # a new bot would not look for the goal in its hand
        bot = _bot_class()(env)
        action = bot.replan()
        self.bot = bot
        return action
