"""The optimum of Stokasta's inventory, by dynamic programming."""

from __future__ import annotations

import gymnasium
import numpy as np
from scipy.stats import poisson

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.general import best_values
from ldm_hf.spaces import Action, Info, Observation

DISCOUNT = 0.995


class OrderingProgram(Reference):
    """Orders what is cheapest in the long run, by value iteration over the levels of the stock (Scarf 1960)."""

    name = "ordering_program"
    method = "tabular"
    worlds = ("DynamicInventoryEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        model = inside(env)
        self.lowest = int(model.min_state)
        levels = np.arange(model.min_state, model.max_state + 1)
        demand = np.arange(int(poisson.ppf(1 - 1e-9, model.demand_mean)) + 1)
        chances = poisson.pmf(demand, model.demand_mean)
        # of the stock after an order, (levels, orders), and after the demand, (levels, orders, demands)
        ordered = levels[:, None] + np.arange(model.max_action + 1)
        left = ordered[..., None] - demand
        costs = model.holding_cost * np.maximum(left, 0) + model.shortage_cost * np.maximum(-left, 0)
        expected = costs @ chances + model.ordering_cost * (np.arange(model.max_action + 1) > 0)
        following = np.clip(left, model.min_state, model.max_state) - self.lowest
        q = best_values(lambda values: DISCOUNT * (values[following] @ chances) - expected, len(levels))
        self.orders = q.round(6).argmax(1)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(self.orders[int(observation[0]) - self.lowest])
