"""Rows of Decision Transformer's gym replay (``edbeeching/decision_transformer_gym_replay`` on the Hub).

Their columns are ``observations``, ``actions``, ``rewards``, ``dones``.
"""

from __future__ import annotations

from .arrays import vector
from .base import LoggedEpisode, done_at_the_end, logged_episode
from .rows import RowSource


class DecisionTransformerSource(RowSource):
    """Rows of the gym replay; an episode whose last step is not done counts as truncated."""

    needed = ("observations", "actions", "rewards", "dones")

    def read(self, number: int) -> LoggedEpisode:
        """One episode."""
        rewards = vector(self.column(number, "rewards"), f"{self._where(number)}: rewards")
        done = done_at_the_end(self.column(number, "dones"), self._where(number))
        return logged_episode(self.column(number, "observations"), self.column(number, "actions"), rewards, done)
