"""Published optima of inventory problems, computed by stockpyl (Snyder 2023)."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded
from ldm_hf.spaces import Action, Info, Observation


class BaseStock(Reference):
    """Orders up to the level that is optimal for Poisson demand over the lead time plus one period."""

    name = "base_stock"
    worlds = ("BaseStockEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from stockpyl.newsvendor import newsvendor_poisson

        model = inside(env)
        demand = model.demand_mean * (model.lead_time + 1)
        level, _ = newsvendor_poisson(model.holding_cost, model.stockout_cost, demand)
        self.level, self.largest_order = int(level), model.largest_order

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(np.clip(self.level - round(float(observation.sum())), 0, self.largest_order))


class ReorderPoint(Reference):
    """The optimal (s, S) policy: at or below s, order up to S (exact algorithm of Zheng & Federgruen 1991)."""

    name = "reorder_point"
    worlds = ("FixedOrderCostEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from stockpyl.ss import s_s_discrete_exact

        model = inside(env)
        low, high, _ = s_s_discrete_exact(
            model.holding_cost, model.stockout_cost, model.fixed_cost, True, model.demand_mean
        )
        self.low, self.high, self.largest_order = int(low), int(high), model.largest_order

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        level = round(float(observation[0]))
        return np.int64(np.clip(self.high - level, 0, self.largest_order) if level <= self.low else 0)


class EchelonBaseStock(Reference):
    """Echelon base-stock levels of the serial system (Clark & Scarf 1960) by the heuristic of Shang & Song (2003).

    The exact algorithm (stockpyl 1.0.2) does not run on NumPy 2; the heuristic's costs are within a few percent of it.
    """

    name = "echelon_base_stock"
    worlds = ("SerialSupplyChainEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from stockpyl.ssm_serial import newsvendor_heuristic

        model = inside(env)
        downstream, upstream = model.holding_costs
        # Under periodic review, the last stage also covers the period of the order itself: one more than its lead time.
        levels = newsvendor_heuristic(
            num_nodes=2,
            node_order_in_system=[2, 1],
            echelon_holding_cost={1: downstream - upstream, 2: upstream},
            lead_time={1: 2, 2: 1},
            stockout_cost=model.stockout_cost,
            demand_mean=model.demand_mean,
            demand_standard_deviation=model.demand_deviation,
        )
        self.levels = (float(levels[1]), float(levels[2]))

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        stock, upstream, to_first, to_second, owed = (float(value) for value in observation)
        first = self.levels[0] - (stock + to_first + owed)
        second = self.levels[1] - (stock + to_first + upstream + to_second)
        return bounded(np.array([first, second], np.float32), env.action_space)
