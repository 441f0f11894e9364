"""Inventory control, of which no maintained Gymnasium library exists; `stockpyl` (Snyder 2023) knows the exact optima.

Rewards are negative costs per period times `SCALE`, about in units of the mean optimal cost of a period, so that
returns are readable.
"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.spaces import Action, Info

SCALE = 0.1


class BaseStockEnv(gymnasium.Env):
    """Single stage, periodic review, Poisson demand, lead time, backorders.

    Each period: order, receive what was ordered ``lead_time`` periods ago, demand arrives, pay holding or backorder
    cost (Snyder & Shen, Fundamentals of Supply Chain Theory, section 4.3).

    Args:
        demand_mean: mean demand in units per period.
        lead_time: periods between order and receipt.
        holding_cost: cost per unit in stock and period.
        stockout_cost: cost per backordered unit and period.
        fixed_cost: cost per order.
        render_mode: not used.
    """

    def __init__(
        self,
        demand_mean: float = 6.0,
        lead_time: int = 2,
        holding_cost: float = 1.0,
        stockout_cost: float = 9.0,
        fixed_cost: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        self.demand_mean, self.lead_time, self.fixed_cost = demand_mean, lead_time, fixed_cost
        self.holding_cost, self.stockout_cost, self.render_mode = holding_cost, stockout_cost, render_mode
        self.largest_order = int(4 * demand_mean)
        self.action_space = spaces.Discrete(self.largest_order + 1)
        # on-hand stock minus backorders, then the orders under way
        self.observation_space = spaces.Box(-np.inf, np.inf, (1 + lead_time,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        super().reset(seed=seed)
        self.level = int(self.np_random.integers(0, int(3 * self.demand_mean) + 1))
        self.pipeline = [int(self.np_random.poisson(self.demand_mean)) for _ in range(self.lead_time)]
        return self._observe(), {}

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        self.pipeline.append(int(action))
        self.level += self.pipeline.pop(0) - int(self.np_random.poisson(self.demand_mean))
        cost = self.holding_cost * max(self.level, 0) + self.stockout_cost * max(-self.level, 0)
        cost += self.fixed_cost * (action > 0)
        return self._observe(), -SCALE * float(cost), False, False, {}

    @property
    def position(self) -> int:
        """Inventory position: stock minus backorders plus everything under way."""
        return self.level + sum(self.pipeline)

    def _observe(self) -> np.ndarray:
        return np.array([self.level, *self.pipeline], np.float32)


class FixedOrderCostEnv(BaseStockEnv):
    """`BaseStockEnv` without lead time but with a fixed cost per order, where an (s, S) policy is optimal (Scarf 1960).

    Args:
        demand_mean: mean demand in units per period.
        holding_cost: cost per unit in stock and period.
        stockout_cost: cost per backordered unit and period.
        fixed_cost: cost per order.
        render_mode: not used.
    """

    def __init__(
        self,
        demand_mean: float = 6.0,
        holding_cost: float = 1.0,
        stockout_cost: float = 9.0,
        fixed_cost: float = 20.0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(demand_mean, 0, holding_cost, stockout_cost, fixed_cost, render_mode)
        self.largest_order = int(6 * demand_mean)
        self.action_space = spaces.Discrete(self.largest_order + 1)


class SerialSupplyChainEnv(gymnasium.Env):
    """Two stages in series, normal demand, one period of lead time each, local holding costs (Clark & Scarf 1960).

    Stage 1 serves the customers and orders from stage 2, which orders from an unlimited supplier.

    Args:
        demand_mean: mean demand in units per period.
        demand_deviation: standard deviation of the demand.
        holding_costs: costs per unit in stock and period, of stages 1 and 2.
        stockout_cost: cost per unit backordered to customers and period.
        render_mode: not used.
    """

    def __init__(
        self,
        demand_mean: float = 10.0,
        demand_deviation: float = 2.5,
        holding_costs: tuple[float, float] = (2.0, 1.0),
        stockout_cost: float = 15.0,
        render_mode: str | None = None,
    ) -> None:
        self.demand_mean, self.demand_deviation, self.render_mode = demand_mean, demand_deviation, render_mode
        self.holding_costs, self.stockout_cost = tuple(holding_costs), stockout_cost
        self.action_space = spaces.Box(0.0, 4 * demand_mean, (2,), np.float32)
        # stock of stage 1 (minus backorders) and 2, goods under way to 1 and 2, what stage 2 owes stage 1
        self.observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        super().reset(seed=seed)
        self.stock = self.np_random.uniform(0.5, 2.0, 2) * self.demand_mean
        self.under_way = self.np_random.uniform(0.5, 1.5, 2) * self.demand_mean
        self.owed = 0.0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Info]:
        orders = np.clip(np.asarray(action, float), 0, 4 * self.demand_mean)
        self.stock += self.under_way
        self.owed += orders[0]
        shipped = min(self.owed, max(self.stock[1], 0.0))
        self.owed -= shipped
        self.stock[1] -= shipped
        self.under_way = np.array([shipped, orders[1]])
        self.stock[0] -= max(0.0, self.np_random.normal(self.demand_mean, self.demand_deviation))
        on_hand = np.maximum(self.stock, 0)
        # goods under way to stage 1 still cost what stage 2 pays for holding them
        cost = on_hand @ self.holding_costs + shipped * self.holding_costs[1]
        cost += self.stockout_cost * max(-self.stock[0], 0.0)
        return self._observe(), -SCALE * float(cost), False, False, {}

    def _observe(self) -> np.ndarray:
        return np.array([*self.stock, *self.under_way, self.owed], np.float32)
