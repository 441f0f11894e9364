"""Exact solutions of environments that publish their transition table."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from .base import Reference


def value_iteration(
    table: dict, discount: float = 0.999, tolerance: float = 1e-9, sweeps: int = 100_000
) -> np.ndarray:
    """State-action values ``(S, A)`` of ``table[state][action] = [(probability, next state, reward, terminated), ...]``.

    Bellman (1957), synchronous sweeps until no value changes by more than ``tolerance``.
    """
    states, actions = len(table), len(table[0])
    outcomes = max(len(table[s][a]) for s in range(states) for a in range(actions))
    probability, reward, following, goes_on = (np.zeros((states, actions, outcomes)) for _ in range(4))
    for s in range(states):
        for a in range(actions):
            for k, (p, s2, r, terminated) in enumerate(table[s][a]):
                probability[s, a, k], reward[s, a, k], following[s, a, k], goes_on[s, a, k] = p, r, s2, not terminated
    following = following.astype(int)
    values = np.zeros(states)
    for _ in range(sweeps):
        q = (probability * (reward + discount * goes_on * values[following])).sum(-1)
        best = q.max(1)
        if np.abs(best - values).max() < tolerance:
            break
        values = best
    return q


class ValueIteration(Reference):
    """Greedy policy of the solved ``env.unwrapped.P``."""

    method = "tabular"

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return hasattr(env.unwrapped, "P")

    def __init__(self, env: gymnasium.Env, discount: float = 0.999) -> None:
        # rounding keeps ties equal, so that the first of equally good actions is always taken
        self.policy = value_iteration(env.unwrapped.P, discount).round(8).argmax(1)  # type: ignore[attr-defined]

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(self.policy[int(observation)])


class Blackjack(Reference):
    """Basic strategy for an infinite deck without splitting or doubling (Thorp 1962), as Sutton & Barto 2018 (figure 5.2) give it."""

    method = "tabular"
    worlds = ("BlackjackEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        total, dealer, usable_ace = (int(value) for value in observation)
        if usable_ace:
            return np.int64(total < 18 or (total == 18 and dealer in (1, 9, 10)))
        if total >= 17 or (13 <= total <= 16 and 2 <= dealer <= 6) or (total == 12 and 4 <= dealer <= 6):
            return np.int64(0)
        return np.int64(1)
