"""Rules by the console's memory, which take microseconds."""

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


class AtariSkiing(AtariRule):
    """Turns towards the middle of the next gate, the more the farther it is to the side."""

    name = "atari_skiing"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        heights, places, kinds = memory[86:94], memory[62:70], memory[70:78]
        ahead = (kinds == 2) & (heights < 135)
        if not ahead.any():
            return "NOOP"
        side = places[ahead][heights[ahead].argmax()] + 12 - memory[25]
        turn = 8 + np.clip(side / 3, -6, 6) - memory[15]  # 8 is straight down
        return "NOOP" if abs(turn) < 0.75 else "RIGHT" if turn > 0 else "LEFT"


class AtariBowling(AtariRule):
    """Throws from the one row from which a curve just before the pins fells all of them."""

    name = "atari_bowling"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        phase, column, row, ball = memory[[13, 29, 40, 30]]
        if phase == 0 and column <= 8:  # before the throw
            return "FIRE" if row == 12 else "UP" if row < 12 else "DOWN"
        return "UP" if phase >= 5 and ball >= 118 else "NOOP"
