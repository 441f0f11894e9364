"""Policies for or-gymnasium's problems: exact dynamic programs where they are small, classic rules elsewhere."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded
from ldm_hf.references.tuning import Number, Tunable
from ldm_hf.spaces import Action, Info, Observation


class Knapsack(Reference):
    """Packs an optimal set for the space that is left: an exact dynamic program over the space, at every step."""

    name = "or_knapsack"
    method = "planner"
    worlds = ("KnapsackEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and not _is_online(env)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        space = int(world.max_weight - world.current_weight)
        numbers = self._copies(world, space)
        weights, values = world.item_weights[numbers], world.item_values[numbers]
        best = np.zeros(space + 1, int)  # value by space used
        chosen = np.zeros((len(numbers), space + 1), bool)
        for row, (weight, value) in enumerate(zip(weights, values, strict=True)):
            with_it = best[: space + 1 - weight] + value
            chosen[row, weight:] = with_it > best[weight:]
            best[weight:] = np.maximum(best[weight:], with_it)
        for row in reversed(range(len(numbers))):  # the last that was worth its weight belongs to an optimal set
            if chosen[row, space]:
                return np.int64(numbers[row])
        return np.int64(0)

    @staticmethod
    def _copies(world: Any, space: int) -> list[int]:
        """Numbers of the items worth a look, once for each copy: of equal weights, the most valuable that fit."""
        limits = getattr(world, "item_limits", np.full(world.N, space))
        room: dict[int, int] = {}  # copies of a weight that still fit
        copies: list[int] = []
        for number in np.argsort(-world.item_values, kind="stable"):
            weight = int(world.item_weights[number])
            count = min(int(limits[number]), room.setdefault(weight, space // weight))
            room[weight] -= count
            copies += [int(number)] * count
        return copies


def _is_online(env: gymnasium.Env) -> bool:
    return hasattr(env.unwrapped, "item_probs") and hasattr(env.unwrapped, "current_item")


class OnlineKnapsack(Reference):
    """Takes an item if its value exceeds what its space is worth in the steps to come, by an exact dynamic program."""

    name = "or_online_knapsack"
    method = "planner"
    worlds = ("OnlineKnapsackEnv",)

    def reset(self, env: gymnasium.Env) -> None:
        world = inside(env)
        weights, values, odds = world.item_weights, world.item_values, world.item_probs
        self.worth = np.zeros((world.step_limit + 1, world.max_weight + 1))  # by steps and space that are left
        after = np.arange(world.max_weight + 1)[:, None] - weights  # (space, item)
        for left in range(1, world.step_limit + 1):
            later = self.worth[left - 1]
            take = np.where(after >= 0, values + later[np.maximum(after, 0)], -1.0)
            self.worth[left] = np.maximum(later[:, None], take) @ odds

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        later = self.worth[max(world.step_limit - world.step_counter - 1, 0)]
        space = int(world.max_weight - world.current_weight)
        rest = space - int(world.item_weights[world.current_item])
        return np.int64(rest >= 0 and world.item_values[world.current_item] + later[rest] >= later[space])


class BinPacking(Reference):
    """Puts every item into the fullest bin that has room (best fit), or evens out the numbers of bins of each level.

    Args:
        env: one of the packing problems.
        rule: ``best_fit``, or ``squares``: the bin, maybe a new one, that keeps the sum of squares of the numbers of
            bins of a level lowest (Csirik et al. 2006).
    """

    name = "or_bin_packing"
    worlds = ("BinPackingEnv",)

    def __init__(self, env: gymnasium.Env, rule: str = "best_fit") -> None:
        self.rule = rule

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, str]]:
        return [{"rule": "best_fit"}, {"rule": "squares"}]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        counts, size, capacity = world.bin_levels, int(world.item_size), int(world.bin_capacity)
        levels = [level for level in range(1, capacity - size + 1) if counts[level]]
        if self.rule == "best_fit":
            return np.int64(max(levels, default=0))
        grown = {level: 1 - 2 * counts[level] for level in levels} | {0: 0}
        for level in grown:
            if level + size < capacity:  # full bins do not count
                grown[level] += 1 + 2 * counts[level + size]
        return np.int64(min(grown, key=lambda level: (grown[level], -level)))


class VMPacking(Reference):
    """Puts a virtual machine on the open server that it leaves least room on: best fit in two dimensions.

    Args:
        env: the packing problem.
        memory: weight of the memory that is left, where that of the processor counts 1.
    """

    name = "or_vm_packing"
    worlds = ("VMPackingEnv",)

    def __init__(self, env: gymnasium.Env, memory: float = 1.0) -> None:
        self.memory = memory

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, float]]:
        return [{"memory": memory} for memory in (0.3, 1.0, 3.0, 10.0)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        *servers, (_, *demand) = observation["state"] if isinstance(observation, dict) else observation
        opened, left = np.array(servers)[:, 0], 1.0 - np.array(servers)[:, 1:] - demand
        room = np.where(opened > 0, left @ (1.0, self.memory), 100.0 - opened)  # closed ones last
        room[(left < 0).any(1)] = np.inf
        return np.int64(room.argmin())


class Newsvendor(Reference):
    """The exact order for Poisson demand: stock does not keep, so an order only touches the one five periods later.

    The library charges an order when stock is left over in the same period, so what arrives limits what is ordered.
    """

    name = "or_newsvendor"
    method = "planner"
    worlds = ("NewsvendorEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        from scipy.stats import poisson

        world = inside(env)
        stock = np.arange(int(world.mu + 6 * np.sqrt(world.mu)) + 10)
        below = poisson.cdf(stock, world.mu)
        excess = np.concatenate([[0.0], np.cumsum(below)[:-1]])  # E[(stock - demand)+]
        sold = stock - excess
        profit = world.price * sold - world.h * excess - world.k * (world.mu - sold)
        arriving = min(round(float(world.state[5])), len(stock) - 1) if world.lead_time else 0
        value = np.zeros(len(stock))  # of what arrives, from the last period in which an order of now matters
        left = world.step_limit - world.step_count
        for _ in range((left - 1) // world.lead_time):
            worst = excess[:, None] * world.cost * stock  # (arrives, is ordered)
            value = profit + (value - worst).max(1)
        order = (value - excess[arriving] * world.cost * stock).argmax()
        return bounded(np.array([stock[order]], float), env.action_space)


class Traveller(Reference):
    """Goes to the unvisited neighbour with the fewest ways on (Warnsdorff 1823); elsewhere, towards the nearest one."""

    name = "or_tsp"
    worlds = ("TSPEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and not hasattr(env.unwrapped, "distance_matrix")

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        ways = world.adjacency_matrix > 0
        new = np.array([not world.visit_log[node] for node in world.nodes])
        here = int(world.current_node)
        beside = np.flatnonzero(ways[here] & new)
        if len(beside):
            return np.int64(min(beside, key=lambda node: (ways[node] & new).sum()))
        reached = new.copy()  # grows from the unvisited nodes until it touches a neighbour
        for _ in range(world.N):
            beside = np.flatnonzero(ways[here] & reached)
            if len(beside):
                return np.int64(beside[0])
            reached |= (ways & reached).any(1)
        return np.int64(np.flatnonzero(ways[here])[0])


class LongTour(Reference):
    """Plans a long way through the nodes that are left: to the farthest, improved by 2-opt; distance is paid."""

    name = "or_tsp_distance"
    method = "planner"
    worlds = ("TSPDistCost",)

    def __init__(self, env: gymnasium.Env) -> None:
        self.plan: list[int] = []

    def reset(self, env: gymnasium.Env) -> None:
        self.plan = []

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        here, left = int(world.current_node), set(np.flatnonzero(world.visit_log == 0).tolist())
        if self.plan[:1] != [here] or set(self.plan[1:]) != left:
            self.plan = _long_way(world.distance_matrix, here, left)
        del self.plan[0]
        return np.int64(self.plan[0] if self.plan else here)


def _long_way(distances: np.ndarray, start: int, left: set[int]) -> list[int]:
    """A way from the start through all nodes that are left that no reversal of a part makes longer."""
    way = [start]
    while left:
        way.append(max(left, key=lambda node: distances[way[-1], node]))
        left = left - {way[-1]}
    path = np.array(way)
    while len(path) > 2:
        ends = np.append(path[1:], -1)  # -1: nothing follows the last node
        step = np.where(ends >= 0, distances[path, ends], 0.0)
        # reversing path[i + 1 : j + 1] replaces the steps after i and j
        across = distances[path[:, None], path]
        beyond = np.where(ends >= 0, distances[ends[:, None], ends], 0.0)
        beyond[:, -1] = 0.0
        gain = np.triu(across + beyond - step[:, None] - step, 1)
        i, j = np.unravel_index(gain.argmax(), gain.shape)
        if gain[i, j] < 1e-9:
            break
        path[i + 1 : j + 1] = path[i + 1 : j + 1][::-1]
    return [int(node) for node in path]


class ChainBaseStock(Reference):
    """Every stage orders up to a level of its echelon, the stock from it to the customer (Clark & Scarf 1960).

    Args:
        env: a chain of stages.
        cover: periods of demand that the level of each stage covers; near the end, those that are left.
        safety: standard deviations of that demand on top.
    """

    name = "or_chain_base_stock"
    worlds = ("InvManagementMasterEnv",)

    def __init__(self, env: gymnasium.Env, cover: tuple[float, ...] = (4.0, 10.0, 20.0), safety: float = 1.0) -> None:
        self.cover, self.safety = np.asarray(cover), safety

    @classmethod
    def tunable(cls, env: gymnasium.Env) -> Tunable:
        return {"cover": Number((4.0, 10.0, 20.0), (1.0, 1.5, 2.0), low=0.0), "safety": Number(1.0, 0.5)}

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        period, demand = world.period, float(world.dist_param["mu"])
        owed = world.B[period - 1, :-1] if period else 0.0
        position = np.cumsum(world.I[period] + world.T[period] - owed)
        expected = demand * np.minimum(self.cover, world.num_periods - period)
        return bounded(np.round(expected + self.safety * np.sqrt(expected) - position), env.action_space)


class NetworkBaseStock(Reference):
    """Every node orders up to a level; its suppliers share an order according to what they have.

    Args:
        env: a supply network.
        cover: periods of demand that the level of each node covers, but no more than are left.
    """

    name = "or_network_base_stock"
    worlds = ("NetInvMgmtMasterEnv",)
    start = (8.0, 8.0, 8.0, 8.0, 8.0, 8.0)

    def __init__(self, env: gymnasium.Env, cover: tuple[float, ...] = start) -> None:
        self.cover = cover

    @classmethod
    def tunable(cls, env: gymnasium.Env) -> Tunable:
        return {"cover": Number(cls.start, (2.0,) * len(cls.start), low=0.0)}

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        period, links = world.period, world.reorder_links
        demand = sum(world.graph.edges[link]["dist_param"]["mu"] for link in world.retail_links)
        stock, coming = world.X.loc[period], world.Y.loc[period]
        orders = np.zeros(len(links))
        for node, cover in zip(world.main_nodes, self.cover, strict=True):
            numbers = [number for number, (_, buyer) in enumerate(links) if buyer == node]
            position = stock[node] + sum(coming[links[number]] for number in numbers)
            if period and node in world.retail and world.backlog:
                position -= sum(world.U.loc[period - 1, link] for link in world.retail_links if link[0] == node)
            has = np.array([max(stock.get(links[number][0], np.inf), 0.0) for number in numbers])
            has[np.isinf(has)] = 1.0  # raw material is always there
            missing = demand * min(cover, world.num_periods - period) - position
            if has.sum() and missing > 0:
                orders[numbers] = missing * has / has.sum()
        return bounded(orders, env.action_space)


class Portfolio(Reference):
    """Buys and sells by the expected worth of cash and of each share at the end, a dynamic program over the periods.

    Mean prices are known, their deviations are independent, and costs are shares of what is traded: so what is best for
    one unit of money is best for all of it.
    """

    name = "or_portfolio"
    method = "planner"
    worlds = ("PortfolioOptEnv",)
    draws = 2000  # prices by which expectations are taken

    def __init__(self, env: gymnasium.Env) -> None:
        world = inside(env)
        self.buy, self.sell = 1.0 + world.buy_cost, 1.0 - world.sell_cost
        means, deviations = world.asset_price_means.T, world.asset_price_var.T
        noise = np.random.default_rng(0).normal(size=(self.draws, world.num_assets))
        # worth of a unit of cash and of a share after the trades of a period; the end pays the prices of that period
        self.cash, self.shares = [1.0], [np.full(world.num_assets, np.nan)]
        for mean, deviation in zip(means[::-1], deviations[::-1], strict=True):
            prices = np.maximum(mean + deviation * noise, 0.05)
            cash, shares = self._worth(prices, self.cash[0], self.shares[0])
            self.cash.insert(0, float(cash.mean()))
            self.shares.insert(0, shares.mean(0))

    def _worth(self, prices: np.ndarray, cash: float, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Worth of cash and of each share at some prices, given their worth after the trades."""
        shares = np.where(np.isnan(shares), prices, shares)
        bought = np.maximum(cash, (shares / (prices * self.buy)).max(-1))
        return bought, np.maximum(shares, prices * self.sell * bought[..., None])

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        prices = np.maximum(world.asset_prices[:, world.step_count], 1e-6)
        cash, later = self.cash[world.step_count + 1], self.shares[world.step_count + 1]
        later = np.where(np.isnan(later), prices, later)
        later[prices < 0.01] = 0.0  # bankrupt
        growth = later / (prices * self.buy)
        best = max(cash, float(growth.max()))
        amounts = np.where(later < prices * self.sell * best, -1.0, 0.0)
        if growth.max() > cash:
            amounts[growth.argmax()] = 1.0
        return bounded(amounts * env.action_space.high, env.action_space)  # type: ignore[attr-defined]  # a Box


WAIT, OPEN, ACCEPTED, CARRIED = 0, 1, 2, 3  # status of an order


class Courier(Reference):
    """Does what earns most a step: accept a good order, fetch an accepted one, or deliver one.

    Args:
        env: the city.
        orders: most orders at hand at a time.
        value: smallest value of an order to accept.
        hurry: steps before the promised time at which an order goes first.
    """

    name = "or_courier"
    worlds = ("VehicleRoutingEnv",)

    def __init__(self, env: gymnasium.Env, orders: int = 4, value: float = 4.0, hurry: int = 20) -> None:
        self.orders, self.value, self.hurry = orders, value, hurry

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, float]]:
        return [{"orders": orders, "value": value} for orders in (3, 4, 5, 6) for value in (2.0, 4.0, 5.0, 6.0)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        status = [order["Status"] for order in world.order_dict.values()]
        # The library gives new orders the numbers of others at times; places of carried ones are never free again then.
        room = world.vehicle_capacity - world.vehicle_load
        most = min(self.orders, room + status.count(CARRIED))
        at_hand = status.count(ACCEPTED) + status.count(CARRIED)
        earned: dict[int, float] = {WAIT: 0.0}  # a step, by action
        for number, order in world.order_dict.items():
            kind, value = order["Status"], order["Value"] / 3
            late = 10.0 * (order["Time"] > world.order_promise - self.hurry)
            if kind == OPEN and at_hand < most and order["Value"] >= self.value:
                earned[1 + number] = value
            elif kind == ACCEPTED and room:
                steps = self._steps(world, world.restaurant_loc[order["RestaurantID"]])
                earned[1 + world.max_orders + number] = late + value / steps
            elif kind == CARRIED:
                earned[1 + 2 * world.max_orders + number] = late + value / self._steps(world, order["DeliveryLoc"])
        return np.int64(max(earned, key=lambda action: earned[action]))

    @staticmethod
    def _steps(world: Any, place: tuple[int, int]) -> int:
        return max(1, int(abs(world.driver_loc[0] - place[0]) + abs(world.driver_loc[1] - place[1])))
