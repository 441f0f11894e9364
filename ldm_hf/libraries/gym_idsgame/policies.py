"""Attack and defence in gym-idsgame by what both sides' strengths are."""

from __future__ import annotations

import heapq
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation


class WeakestPath(Reference):
    """Attacks along the path that is least likely to be detected (Dijkstra 1959), each server where it is weakest.

    Attacking a server n times against one that resists n - 1 of them is detected with the server's probability each
    time that it fails.
    """

    name = "weakest_path"
    method = "planner"
    worlds = ("IntrusionDetectionEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and inside(env).attacks

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        state, network = world.game.state, world.settings.network_config
        missing = np.maximum(state.defense_values - state.attack_values, 0)  # (servers, kinds): attacks that fail
        missing = np.where(state.attack_values < world.settings.max_value, missing, np.inf)
        caught = -np.log1p(-np.minimum(state.defense_det / 10, 0.99)) + 0.01
        costs = missing.min(axis=1) * caught + 0.01
        target = self._next(network, network.get_node_id(state.attacker_pos), costs)
        return np.int64(target * world.settings.num_attack_types + int(missing[target].argmin()))

    @staticmethod
    def _next(network: Any, start: int, costs: np.ndarray) -> int:
        """The next server on the cheapest way to the data."""
        goal = network.get_node_id(network.data_pos)
        frontier: list[tuple[float, int, int]] = [(0.0, start, -1)]
        done: set[int] = set()
        while frontier:
            cost, node, first = heapq.heappop(frontier)
            if node == goal:
                return first
            if node not in done:
                done.add(node)
                for after in _within_reach(network, node):
                    heapq.heappush(frontier, (cost + costs[after], after, after if first < 0 else first))
        return start


class WatchfulDefence(Reference):
    """Strengthens what the attacker is closest to breaking among the servers that it can reach now."""

    name = "watchful_defence"
    worlds = ("IntrusionDetectionEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and not inside(env).attacks

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        state, network = world.game.state, world.settings.network_config
        reach = _within_reach(network, network.get_node_id(state.attacker_pos))
        over = state.defense_values[reach] - state.attack_values[reach]  # (servers in reach, kinds of attack)
        server, kind = np.unravel_index(int(over.argmin()), over.shape)
        return np.int64(reach[int(server)] * (world.settings.num_attack_types + 1) + int(kind))


def _within_reach(network: Any, node: int) -> list[int]:
    """The servers that can be attacked from a node: joined to it, and not below."""
    row, column = network.get_node_pos(node)
    joined = network.adjacency_matrix[network.get_adjacency_matrix_id(row, column)]
    places = {after: network.get_node_pos(after) for after in range(len(network.node_list))}
    return [
        after
        for after, place in places.items()
        if after != node and place[0] <= row and joined[network.get_adjacency_matrix_id(*place)]
    ]
