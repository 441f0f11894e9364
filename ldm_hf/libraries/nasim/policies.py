"""A planner for the networks of NASim (Schwartz & Kurniawati 2019), in the simulator's own model."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

if TYPE_CHECKING:
    from nasim.envs.action import Action as Attack
    from nasim.envs.state import State


class _Step(NamedTuple):
    """An attack that leads on: what it costs, the number of its choice, and the state after it."""

    cost: float
    number: int
    after: State


class AttackPlanner(Reference):
    """The cheapest way to take all sensitive hosts of a network, by uniform-cost search (Dijkstra 1959).

    An exploit that succeeds with probability p is counted as certain at 1/p times its cost, which is what repeating
    it until it succeeds costs on average. Of the hosts that are not sensitive, one of each subnet is enough: the
    cheapest that can be taken, through which the attack goes on. All hosts are searched only where that leads
    nowhere, because hosts have firewalls of their own. Plans are kept, since a network has few states that matter.
    """

    name = "attack_planner"
    method = "planner"
    worlds = ("NASimEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        self.simulator = inside(env)
        self.network, space = self.simulator.network, self.simulator.action_space
        choices = [_Choice(index, space.get_action(index)) for index in range(space.n)]
        self.choices = [choice for choice in choices if choice.changes_state]
        self.plans: dict[bytes, int] = {}  # the next choice by state

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        state = inside(env).current_state
        key = state.tensor.tobytes()
        if key not in self.plans and not self.search(state, all_hosts=False):
            self.search(state, all_hosts=True)
        return np.int64(self.plans.setdefault(key, 0))

    def search(self, start: State, all_hosts: bool) -> bool:
        """Looks for a way from a state and keeps it; returns whether there is one."""
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

    def _steps(self, state: State, all_hosts: bool) -> Iterator[_Step]:
        """The choices that lead on from a state."""
        entered = {address[0] for address in self.network.address_space if state.host_compromised(address)}
        entrances: dict[int, _Step] = {}  # the cheapest of each subnet
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
            step = _Step(cost, choice.index, after)
            if needed:
                yield step
            elif subnet not in entrances or step.cost < entrances[subnet].cost:
                entrances[subnet] = step
        yield from entrances.values()

    def _certain(self, state: State, action: Attack) -> tuple[State, float]:
        """The state after an action has succeeded, and its cost; honeypots, whose value is negative, cost more."""
        probability, action.prob = action.prob, 1.0
        try:
            after, result = self.network.perform_action(state, action)
        finally:
            action.prob = probability
        again = action.is_exploit() and state.host_compromised(action.target)  # never fails
        return after, action.cost / (1.0 if again else max(probability, 1e-6)) + max(0.0, -result.value)


@dataclass(frozen=True)
class _Choice:
    """An action of the simulator and its number in the action space."""

    index: int
    action: Attack

    @property
    def changes_state(self) -> bool:
        """Whether it can change the state; other scans only reveal what the model knows."""
        action = self.action
        return bool(action.is_exploit() or action.is_privilege_escalation() or action.is_subnet_scan())
