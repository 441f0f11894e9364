"""Search in a model of the environment."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference


class AttackPlanner(Reference):
    """Cheapest way to take all sensitive hosts of a NASim network, by uniform-cost search (Dijkstra 1959) in the simulator's own model.

    An exploit that succeeds with probability p is counted as certain at 1/p times its cost, which is what repeating it until it succeeds costs on
    average. Of the hosts that are not sensitive, one of each subnet is enough: the cheapest that can be taken, through which the attack goes on.
    Only where that leads nowhere (hosts have firewalls of their own), all hosts are searched. Plans are kept, since a network has few states that matter.
    """

    name = "attack_planner"
    method = "planner"
    worlds = ("NASimEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        simulator: Any = env.unwrapped
        self.simulator, self.network = simulator, simulator.network
        space: Any = simulator.action_space
        choices = [_Choice(index, space.get_action(index)) for index in range(space.n)]
        self.choices = [choice for choice in choices if choice.changes_state]
        self.plans: dict[bytes, int] = {}

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        state = env.unwrapped.current_state  # type: ignore[attr-defined]
        key = state.tensor.tobytes()
        if key not in self.plans and not self.search(state, all_hosts=False):
            self.search(state, all_hosts=True)
        return np.int64(self.plans.setdefault(key, 0))

    def search(self, start: Any, all_hosts: bool) -> bool:
        """Whether there is a way from this state; keeps it."""
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
                return True
            for more, index, following in self._steps(state, all_hosts):
                after, total = following.tensor.tobytes(), cost + more
                if total < costs.get(after, np.inf):
                    costs[after], came_from[after] = total, (key, index)
                    heapq.heappush(frontier, (total, next(order), following))
        return False

    def _steps(self, state: Any, all_hosts: bool) -> Iterator[tuple[float, int, Any]]:
        """Cost, choice and state after it, of all choices that lead on."""
        entered = {address[0] for address in self.network.address_space if state.host_compromised(address)}
        entrances: dict[int, tuple[float, int, Any]] = {}  # by subnet
        for choice in self.choices:
            action, (subnet, _) = choice.action, choice.action.target
            if not (state.host_reachable(action.target) and state.host_discovered(action.target)):
                continue
            needed = all_hosts or action.is_subnet_scan() or self.network.is_sensitive_host(action.target)
            if not needed and (subnet in entered or not action.is_exploit()):
                continue
            after, cost = self._certain(state, action)
            if np.array_equal(after.tensor, state.tensor):
                continue
            step = (cost, choice.index, after)
            if needed:
                yield step
            elif subnet not in entrances or step[0] < entrances[subnet][0]:
                entrances[subnet] = step
        yield from entrances.values()

    def _certain(self, state: Any, action: Any) -> tuple[Any, float]:
        """The state after the action has succeeded, and what that costs: more where the host is worth less than nothing (a honeypot)."""
        probability, action.prob = action.prob, 1.0
        try:
            after, result = self.network.perform_action(state, action)
        finally:
            action.prob = probability
        again = action.is_exploit() and state.host_compromised(action.target)  # never fails
        return after, action.cost / (1.0 if again else max(probability, 1e-6)) + max(0.0, -result.value)


@dataclass(frozen=True)
class _Choice:
    index: int
    action: Any

    @property
    def changes_state(self) -> bool:
        """Other scans only tell what the model knows."""
        return self.action.is_exploit() or self.action.is_privilege_escalation() or self.action.is_subnet_scan()
