"""Inventory, energy and trading: published optima and dynamic programming."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.libraries.pvlib.environment import HOURS, LOAD
from ldm_hf.references.base import Reference


class BaseStock(Reference):
    """Orders up to the level that is optimal for Poisson demand over lead time plus one period; from stockpyl."""

    worlds = ("BaseStockEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from stockpyl.newsvendor import newsvendor_poisson

        model: Any = env.unwrapped
        level, _ = newsvendor_poisson(
            model.holding_cost, model.stockout_cost, model.demand_mean * (model.lead_time + 1)
        )
        self.level = int(level)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(np.clip(self.level - round(float(observation.sum())), 0, env.action_space.n - 1))  # type: ignore[attr-defined]


class ReorderPoint(Reference):
    """The optimal (s, S) policy: at or below s, order up to S. Exact algorithm of Zheng & Federgruen (1991) from stockpyl."""

    worlds = ("FixedOrderCostEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from stockpyl.ss import s_s_discrete_exact

        model: Any = env.unwrapped
        low, high, _ = s_s_discrete_exact(
            model.holding_cost, model.stockout_cost, model.fixed_cost, True, model.demand_mean
        )
        self.low, self.high = int(low), int(high)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        level = round(float(observation[0]))
        return np.int64(np.clip(self.high - level, 0, env.action_space.n - 1) if level <= self.low else 0)  # type: ignore[attr-defined]


class EchelonBaseStock(Reference):
    """Echelon base-stock levels of the serial system (Clark & Scarf 1960) by the heuristic of Shang & Song (2003) from stockpyl.

    Its exact algorithm (stockpyl 1.0.2) does not run on NumPy 2; the heuristic's costs are within a few percent of it.
    """

    worlds = ("SerialSupplyChainEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from stockpyl.ssm_serial import newsvendor_heuristic

        model: Any = env.unwrapped
        downstream, upstream = model.holding_costs
        # Under periodic review, the last stage also has to cover the period of the order itself: one more than its lead time.
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

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        stock, upstream, to_first, to_second, owed = (float(value) for value in observation)
        first = self.levels[0] - (stock + to_first + owed)
        second = self.levels[1] - (stock + to_first + upstream + to_second)
        space: Any = env.action_space
        return np.clip(np.array([first, second], np.float32), space.low, space.high)


class NetworkBaseStock(Reference):
    """Every node of a supply network (Perez et al. 2021) orders up to the demand of its lead time and one period more, from all its suppliers alike.

    Demand is what the markets have asked for on average so far; a node's share of it follows from the network.

    Args:
        env: a network of gym-invmgmt.
        cover: how many times that demand.
    """

    worlds = ("CoreEnv",)

    def __init__(self, env: gymnasium.Env, cover: float = 1.2) -> None:
        network: Any = env.unwrapped.network  # type: ignore[attr-defined]
        self.cover = cover
        self.suppliers: dict[Any, list[int]] = {}  # numbers of the links that a node orders by
        for number, (_, buyer) in enumerate(network.reorder_links):
            self.suppliers.setdefault(buyer, []).append(number)
        self.shares = {node: self._share(network, node) for node in self.suppliers}

    def _share(self, network: Any, node: Any) -> float:
        """How many markets a node supplies, parts of them included."""
        markets = sum(seller == node for seller, _ in network.retail_links)
        buyers = [buyer for seller, buyer in network.reorder_links if seller == node]
        return markets + sum(self._share(network, buyer) / len(self.suppliers[buyer]) for buyer in buyers)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and hasattr(env.unwrapped, "demand_engine")

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        return [{"cover": cover} for cover in (0.8, 1.0, 1.2, 1.5, 2.0)]

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        world: Any = env.unwrapped
        network, period = world.network, world.period
        demand = world.D[:period].mean() if period else world.demand_engine.base_mu
        orders = np.zeros(len(network.reorder_links))
        for node, links in self.suppliers.items():
            owed = [number for number, (seller, _) in enumerate(network.retail_links) if seller == node]
            position = world.X[period, network.node_map[node]] + world.Y[period, links].sum()
            if period:
                position -= world.U[period - 1, owed].sum()
            lead = max(network.lead_times[network.reorder_links[link]] for link in links)
            orders[links] = max(0.0, self.cover * demand * self.shares[node] * (lead + 1) - position) / len(links)
        space: Any = env.action_space
        return np.clip(orders, space.low, space.high).astype(space.dtype)


class BatteryProgram(Reference):
    """Dynamic programming over hour and charge with expected load and sun, then one exact step with the load and sun of this hour.

    Args:
        env: the home.
        discount: per hour.
        sweeps: days of backward induction.
    """

    method = "planner"
    worlds = ("HomeBatteryEnv",)

    def __init__(self, env: gymnasium.Env, discount: float = 0.999, sweeps: int = 15) -> None:
        model: Any = env.unwrapped
        self.model, self.discount = model, discount
        self.charges = np.linspace(0, model.capacity, 33)
        self.powers = np.linspace(-1, 1, 41) * model.power
        expected_clearness = float(
            (1 / (1 + np.exp(-1.5 * np.random.default_rng(0).normal(size=10_000) - 0.5))).mean()
        )
        net_load = LOAD * np.exp(0.2**2 / 2) - model.solar * expected_clearness
        self.values = np.zeros((HOURS, len(self.charges)))
        for hour in [*range(HOURS - 1, -1, -1)] * sweeps:
            self.values[hour] = self._costs(self.charges[:, None], net_load[hour], hour).min(1)

    def _costs(self, charge: Any, net_load: float, hour: int) -> np.ndarray:
        """Cost of every power now plus the value of what follows."""
        bought, after = self.model.transition(charge, self.powers, net_load)
        return self.model.cost(bought, hour) + self.discount * np.interp(
            after, self.charges, self.values[(hour + 1) % HOURS]
        )

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        charge, load, panels, _ = (float(value) for value in observation["state"])
        costs = self._costs(charge, load - panels, int(observation["hour"]))
        # Among powers that cost the same (the battery is full or empty) the smallest is meant.
        tied = np.flatnonzero(costs <= costs.min() + 1e-6)
        best = tied[np.abs(self.powers[tied]).argmin()]
        return np.array([self.powers[best] / self.model.power], np.float32)


class Trader(Reference):
    """Holds the stock when the next price change is expected to be positive, given the process that the prices follow."""

    worlds = ("SimulatedStocksEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        from ldm_hf.libraries.gym_anytrading.environment import MEAN_PRICE

        price, change = observation[-1]
        rising = price < MEAN_PRICE if env.unwrapped.process == "reverting" else change > 0  # type: ignore[attr-defined]
        return np.int64(rising)


class MostWorkRemaining(Reference):
    """Job shop: of the jobs that may be started, the one with the most work before it (a dispatching rule, Panwalkar & Iskander 1977)."""

    worlds = ("JobShopEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        shop: Any = env.unwrapped._shop  # type: ignore[attr-defined]
        left = np.asarray(shop.jobs_length) - np.asarray(shop.total_perform_op_time_jobs)
        legal = np.asarray(shop.legal_actions[:-1], bool)
        return np.int64(np.where(legal, left, -1).argmax() if legal.any() else shop.jobs)  # the last action waits
