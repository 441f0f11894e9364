"""An order policy for the supply networks of gym-invmgmt (Perez et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded
from ldm_hf.spaces import Action, Info, Observation

if TYPE_CHECKING:
    from gym_invmgmt.network_topology import SupplyChainNetwork


class NetworkBaseStock(Reference):
    """Every node orders up to the demand of its lead time and one period more, from all its suppliers alike.

    Demand is what the markets have asked for on average so far; a node's share of it follows from the network.

    Args:
        env: a supply network.
        cover: factor on that demand.
    """

    name = "network_base_stock"
    worlds = ("CoreEnv",)

    def __init__(self, env: gymnasium.Env, cover: float = 1.2) -> None:
        network: SupplyChainNetwork = inside(env).network
        self.cover = cover
        self.suppliers: dict[int, list[int]] = {}  # numbers of the links that a node orders by
        for number, (_, buyer) in enumerate(network.reorder_links):
            self.suppliers.setdefault(buyer, []).append(number)
        self.shares = {node: self._share(network, node) for node in self.suppliers}

    def _share(self, network: SupplyChainNetwork, node: int) -> float:
        """The number of markets that a node supplies, parts of them included."""
        markets = sum(seller == node for seller, _ in network.retail_links)
        buyers = [buyer for seller, buyer in network.reorder_links if seller == node]
        return float(markets + sum(self._share(network, buyer) / len(self.suppliers[buyer]) for buyer in buyers))

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and hasattr(env.unwrapped, "demand_engine")

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{"cover": cover} for cover in (0.8, 1.0, 1.2, 1.5, 2.0)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
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
        return bounded(orders, env.action_space)
