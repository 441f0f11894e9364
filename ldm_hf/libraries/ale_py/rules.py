"""What rules by the console's memory have in common."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation


class AtariRule(Reference):
    """A rule by bytes of the console's memory, whose addresses are from Anand et al. 2019 (arXiv 1906.08226)."""

    method = "scripted"
    before: np.ndarray | None = None

    def reset(self, env: gymnasium.Env) -> None:
        self.before = None

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        memory = inside(env).ale.getRAM().astype(int)
        before, self.before = self.before, memory
        meaning = self.choose(memory, memory if before is None else before)
        return np.int64(inside(env).get_action_meanings().index(meaning))

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        """Meaning of the action, by the memory ``(128,)`` now and a step ago."""
        raise NotImplementedError


def reflected(place: float, low: float, high: float) -> float:
    """Where something is that would be at ``place``, had it not been reflected by the walls at ``low`` and ``high``."""
    size = high - low
    return low + abs((place - low + size) % (2 * size) - size)
