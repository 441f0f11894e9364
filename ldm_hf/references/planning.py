"""Search in a model of the environment."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from .base import Reference


class AttackPlanner(Reference):
    """Cheapest way to take all sensitive hosts of a NASim network, by uniform-cost search (Dijkstra 1959) in the simulator's own model.

    An exploit that succeeds with probability p is counted as certain at 1/p times its cost, which is what repeating it until it succeeds costs on
    average. Plans are kept, since a network has few states that matter.
    """

    method = "planner"

    def __init__(self, env: gymnasium.Env) -> None:
        self.simulator: Any = env.unwrapped
        space: Any = self.simulator.action_space
        self.choices = [_Choice(index, space.get_action(index)) for index in range(space.n)]
        self.plans: dict[bytes, int] = {}

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        state = env.unwrapped.current_state  # type: ignore[attr-defined]
        if state.tensor.tobytes() not in self.plans:
            self._search(state)
        return np.int64(self.plans.get(state.tensor.tobytes(), 0))

    def _search(self, start: Any) -> None:
        order = itertools.count()  # ties are broken by age, never by comparing states
        frontier = [(0.0, next(order), start)]
        costs: dict[bytes, float] = {start.tensor.tobytes(): 0.0}
        came_from: dict[bytes, tuple[bytes, int]] = {}
        while frontier:
            cost, _, state = heapq.heappop(frontier)
            key = state.tensor.tobytes()
            if cost > costs[key]:
                continue
            if self.simulator.goal_reached(state):
                while key in came_from:
                    key, self.plans[key] = came_from[key][0], came_from[key][1]
                return
            for choice in self.choices:
                following = self._certain(state, choice.action)
                after, total = following.tensor.tobytes(), cost + choice.cost
                if total < costs.get(after, np.inf):
                    costs[after], came_from[after] = total, (key, choice.index)
                    heapq.heappush(frontier, (total, next(order), following))

    def _certain(self, state: Any, action: Any) -> Any:
        """The state after the action has succeeded."""
        probability, action.prob = action.prob, 1.0
        try:
            return self.simulator.network.perform_action(state, action)[0]
        finally:
            action.prob = probability


@dataclass(frozen=True)
class _Choice:
    index: int
    action: Any

    @property
    def cost(self) -> float:
        return self.action.cost / max(self.action.prob, 1e-6)
