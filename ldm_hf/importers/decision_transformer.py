"""Rows of Decision Transformer's gym replay (``edbeeching/decision_transformer_gym_replay`` on the Hub): ``observations``, ``actions``, ``rewards``, ``dones``."""

from __future__ import annotations

from typing import Any

from .base import done_at_the_end, ends
from .rows import RowSource


class DecisionTransformerSource(RowSource):
    """Gym-replay rows; an episode whose last step is not done was cut off."""

    needed = ("observations", "actions", "rewards", "dones")

    def read(self, number: int) -> dict[str, Any]:
        """One episode."""
        rewards = self.column(number, "rewards").reshape(-1)
        done = done_at_the_end(self.column(number, "dones"), self._where(number))
        return {
            "observation": self.column(number, "observations"),
            "action": self.column(number, "actions"),
            "reward": rewards,
            **ends(len(rewards), terminated=done),
        }
