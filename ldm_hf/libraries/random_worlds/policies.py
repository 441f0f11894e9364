"""The optimum of random worlds, or what is cheap and close to it."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

SWEEPS = 2000  # most of an iteration
FIRST = 40  # sweeps of value iteration before policy iteration
DIGITS = 9  # of values; what differs by less is equally good


class TableOptimum(Reference):
    """Policy iteration over the tables (Howard 1960); where what is seen deceives, weighted by what the state may be.

    The weighting is QMDP (Littman et al. 1995). Of actions that are equally good, the first is taken.

    Args:
        env: the world.
        discount: discount per step.
    """

    name = "table_optimum"
    method = "tabular"
    worlds = ("RandomTableEnv",)

    def __init__(self, env: gymnasium.Env, discount: float = 0.98) -> None:
        self.tables = tables = inside(env).tables
        states = np.arange(len(tables.start))
        # what an action brings at once, (A, S), and how likely each state that counts follows, (A, S, S)
        reward = (tables.chance * tables.reward).sum(-1)
        self.moves = np.zeros((*reward.shape, len(states)))
        outcomes = np.ogrid[tuple(slice(size) for size in reward.shape)]
        for outcome in range(tables.chance.shape[-1]):
            self.moves[(*outcomes, tables.following[..., outcome])] += tables.chance[..., outcome]
        going_on = discount * self.moves * ~tables.ends
        value = np.zeros(len(states))
        for _ in range(FIRST):  # of value iteration: a policy to begin with that knows the way to a distant goal
            value = (reward + going_on @ value).max(0)
        choice = (reward + going_on @ value).argmax(0)
        for _ in range(SWEEPS):
            value = np.linalg.solve(np.eye(len(states)) - going_on[choice, states], reward[choice, states])
            self.values = (reward + going_on @ value).round(DIGITS)
            before, choice = choice, self.values.argmax(0)
            if (choice == before).all():
                break

    def reset(self, env: gymnasium.Env) -> None:
        self.belief, self.last = self.tables.start, -1

    def executed(self, action: Action) -> None:
        self.last = int(action)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        tables, world = self.tables, inside(env)
        sure = tables.seen is None
        values = self.values[:, world.state] if sure else self.values @ self._belief(world.symbol)
        self.last = int(values.argmax())
        return np.int64(self.last)

    def _belief(self, symbol: int) -> np.ndarray:
        """Probabilities of the states after what was done and seen."""
        tables, moved = self.tables, self.belief
        if self.last >= 0:
            moved = self.belief @ self.moves[self.last]
        likely = moved * tables.seen[:, symbol]
        belief: np.ndarray = likely / likely.sum()
        self.belief = belief
        return belief


class BestArm(Reference):
    """Pulls the arm that pays best, which it knows from the first step on: learners have to find it."""

    name = "best_arm"
    method = "tabular"
    worlds = ("RandomBanditEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(inside(env).means.argmax())


class LinearRegulator(Reference):
    """The linear-quadratic regulator of the whole state, cut where actions end.

    Args:
        env: the system.
    """

    name = "random_system_regulator"
    method = "planner"
    worlds = ("RandomLinearEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        system = inside(env)
        drift, push, value = system.drift, system.push, system.cost
        for _ in range(SWEEPS):
            before = value
            self.gain = np.linalg.solve(system.effort + push.T @ value @ push, push.T @ value @ drift)
            value = system.cost + drift.T @ value @ (drift - push @ self.gain)
            if np.abs(value - before).max() < 1e-9 * np.abs(value).max():
                break

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.minimum(np.maximum(-self.gain @ inside(env).state, -1), 1).astype(np.float32)
