"""Experts that libraries ship or define: the BabyAI bot, Meta-World's policies, POPGym's memory games, Atari."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium
import numpy as np

from .base import Reference

MOST_SEARCHES = 100  # of the BabyAI bot for one action; ten at the most were seen where a plan ends


@cache
def _bot_class() -> type:
    from minigrid.utils.baby_ai_bot import BabyAIBot as Bot

    class LimitedBot(Bot):  # type: ignore[misc]
        """In some mazes of locked doors, the bot replaces one subgoal by another for ever."""

        def replan(self, action_taken: Any = None) -> Any:
            self.last_search = self.bfs_counter + MOST_SEARCHES
            return super().replan(action_taken)

        def _breadth_first_search(self, *args: Any, **kwargs: Any) -> Any:
            if self.bfs_counter >= self.last_search:
                raise EndlessPlanError
            return super()._breadth_first_search(*args, **kwargs)

    return LimitedBot


class EndlessPlanError(Exception):
    """The bot goes round in circles."""


class BabyAIBot(Reference):
    """The bot of Chevalier-Boisvert et al. 2019; it re-plans after foreign actions and starts over where that confuses it."""

    method = "scripted"
    worlds = ("RoomGridLevel",)

    def reset(self, env: gymnasium.Env) -> None:
        self.bot: Any = None
        self.last: Any = None
        self.lost = False

    def executed(self, action: Any) -> None:
        self.last = action

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        world: Any = env.unwrapped
        action = world.actions.forward  # where there is no plan (the goal was carried off): the mission is lost anyway
        if not self.lost:
            try:
                action = self._planned(env, world)
            except EndlessPlanError:
                self.lost = True  # it would take as long at every step
            except Exception:
                pass
        self.last = np.int64(action)
        return self.last

    def _planned(self, env: gymnasium.Env, world: Any) -> Any:
        if self.bot is not None:
            try:
                return self.bot.replan(int(self.last))
            except EndlessPlanError:
                raise
            except Exception:  # the bot asserts that the world is as it left it; a new one looks anew
                self.bot = None
                if world.carrying is not None and world.grid.get(*world.front_pos) is None:
                    return world.actions.drop  # a new bot would not look for the goal in its hand
        bot = _bot_class()(env)
        action = bot.replan()
        self.bot = bot
        return action


class MetaWorld(Reference):
    """The scripted policies that Meta-World ships (Yu et al. 2019)."""

    method = "scripted"

    def __init__(self, env: gymnasium.Env) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        spec: Any = env.spec
        policy: Any = ENV_POLICY_MAP[spec.kwargs["task"]]
        self.policy = policy()

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        action = self.policy.get_action(np.asarray(observation, np.float64))
        return np.clip(action, -1, 1).astype(np.float32)


class RepeatPrevious(Reference):
    """POPGym's RepeatPrevious (Morad et al. 2023): the suit seen k - 1 steps before."""

    method = "scripted"
    worlds = ("RepeatPrevious",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        deck, k = env.unwrapped.deck, env.unwrapped.k  # type: ignore[attr-defined]
        hand = deck["player"]
        return np.int64(deck.suits_idx[hand[-min(k, len(hand))]])


class RepeatFirst(Reference):
    """POPGym's RepeatFirst: the first suit of the episode."""

    method = "scripted"
    worlds = ("RepeatFirst",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(env.unwrapped.card)  # type: ignore[attr-defined]


class AtariFreeway(Reference):
    """Always up: crossing at once scores about as well as dodging, since a car only pushes back."""

    method = "scripted"

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(1)


class MinAtarFreeway(Reference):
    """Searches the way across that takes the fewest frames, since the cars of MinAtar (Young & Tian 2019) move as regularly as clocks."""

    method = "planner"
    horizon = 100  # frames; without cars, a crossing takes 27

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        minatar: Any = env.unwrapped
        game, actions = minatar.game.env, minatar.game.minimal_action_set()
        hit = self._hits(game.cars)
        # (row, frames until the next move) -> first action of the way there
        reached: dict[tuple[int, int], str] = {}
        for frame in range(self.horizon):
            following: dict[tuple[int, int], str] = {}
            for row, wait, first in (
                [(game.pos, game.move_timer, "")] if frame == 0 else [(*k, v) for k, v in reached.items()]
            ):
                for move, shift in (("u", -1), ("n", 0), ("d", 1)):
                    if shift and wait:
                        continue
                    there = min(row + shift, 9)
                    if there == 0:
                        return np.int64(actions.index(game.action_map.index(first or move)))
                    if hit[frame, there]:
                        continue  # back to the start: never faster than to wait there
                    following.setdefault((there, max((3 if shift else wait) - 1, 0)), first or move)
            reached = following
        return np.int64(actions.index(game.action_map.index("n")))

    def _hits(self, cars: list) -> np.ndarray:
        """``(horizon, 10)``: whether a chicken in this row would be hit in this frame."""
        hit = np.zeros((self.horizon, 10), bool)
        for column, row, timer, speed in cars:
            for frame in range(self.horizon):
                hit[frame, row] |= column == 4
                if timer == 0:
                    column, timer = (column + np.sign(speed)) % 10, abs(speed)
                    hit[frame, row] |= column == 4
                else:
                    timer -= 1
        return hit
