"""The optimum of random worlds, or what is cheap and close to it."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

SWEEPS = 2000  # most of a value iteration, and of Riccati's


class TableOptimum(Reference):
    """Value iteration over the tables; where what is seen deceives, weighted by what the state may be (QMDP).

    Args:
        env: the world.
        discount: discount per step.
    """

    name = "table_optimum"
    method = "tabular"
    worlds = ("RandomTableEnv",)

    def __init__(self, env: gymnasium.Env, discount: float = 0.98) -> None:
        self.tables = tables = inside(env).tables
        going_on = discount * ~tables.ends[tables.following]
        self.values = np.zeros(tables.chance.shape[:2])
        for _ in range(SWEEPS):
            before = self.values
            best = before.max(0)
            self.values = (tables.chance * (tables.reward + going_on * best[tables.following])).sum(-1)
            if np.abs(self.values - before).max() < 1e-6:
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
            moved = np.zeros(len(self.belief))
            np.add.at(moved, tables.following[self.last], self.belief[:, None] * tables.chance[self.last])
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
        return np.clip(-self.gain @ inside(env).state, -1, 1).astype(np.float32)
