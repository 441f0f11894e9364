"""Best answers to the other side's strategy in CSLE's games."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.general import best_values
from ldm_hf.spaces import Action, Info, Observation

if TYPE_CHECKING:
    from .environment import Game

DISCOUNT = 0.99


class BestDefence(Reference):
    """Weighs what each choice is worth in each state by the belief in the states (QMDP, Littman et al. 1995)."""

    name = "best_defence"
    method = "planner"
    worlds = ("SecurityGameEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        game: Game = inside(env).game
        rewards = np.einsum("sa,das->ds", game.attack, game.rewards)
        transitions = np.einsum("sa,dast->dst", game.attack, game.transitions)
        transitions[:, :, game.terminal] = 0.0
        self.worth = best_values(lambda values: (rewards + DISCOUNT * transitions @ values).T, len(game.seen))

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and inside(env).defends

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(np.argmax(inside(env).belief @ self.worth))


class BestAttack(Reference):
    """Value iteration over the states and the number of alerts, which the defender answers."""

    name = "best_attack"
    method = "tabular"
    worlds = ("SecurityGameEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        world = inside(env)
        game: Game = world.game
        # (S, alerts, attacks): the rewards, expected over the defender's choice
        rewards = -np.einsum("od,das->soa", world.defence, game.rewards)
        goes_on = ~game.terminal[:, None]

        def worth(values: np.ndarray) -> np.ndarray:
            after = np.einsum("dato,to->dat", game.alerts, values * goes_on)
            coming = np.einsum("dast,dat->das", game.transitions, after)
            found: np.ndarray = rewards + DISCOUNT * np.einsum("od,das->soa", world.defence, coming)
            return found

        self.worth = best_values(worth, (len(game.seen), game.alerts.shape[-1]))

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and not inside(env).defends

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        return np.int64(np.argmax(self.worth[world.state, world.count]))
