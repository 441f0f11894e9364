"""Only the better episodes of a stream: for logs of mixed quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from ..errors import DatasetError
from .reader import EnvironmentTrajectories
from .schema import ROLES, EnvironmentInfo


class SelectedTrajectories:
    """Some episodes of a stream, one after another; it is read like the stream itself.

    Its statistics are those of all episodes: what is observed does not depend on which actions are worth imitating.

    Args:
        stream: to choose from.
        episodes: numbers of the chosen ones, increasing, at least one.
    """

    def __init__(self, stream: EnvironmentTrajectories, episodes: np.ndarray) -> None:
        self._stream, self.episodes = stream, np.asarray(episodes)
        self.folder: Path = stream.folder
        self.info: EnvironmentInfo = stream.info
        self.observation_space: gymnasium.Space = stream.observation_space
        self.action_space: gymnasium.Space = stream.action_space
        lengths = np.diff(stream.episode_starts)[self.episodes]
        self.episode_starts = np.concatenate([[0], np.cumsum(lengths)])
        # neighbours that are both chosen are read in one go
        joined = np.flatnonzero(np.diff(self.episodes) != 1) + 1
        firsts = np.concatenate([[0], joined])
        self._runs = self.episode_starts[np.append(firsts, len(self.episodes))]
        self._origins = stream.episode_starts[self.episodes[firsts]]

    def part(self, start: int, stop: int) -> SelectedTrajectories:
        """Some of the chosen episodes, counted among them."""
        return SelectedTrajectories(self._stream, self.episodes[start:stop])

    @property
    def num_episodes(self) -> int:
        """Episodes chosen."""
        return len(self.episodes)

    @property
    def num_steps(self) -> int:
        """Length of the chosen episodes together."""
        return int(self.episode_starts[-1])

    def slice(self, start: int, stop: int) -> dict[str, Any]:
        """Steps ``start`` to ``stop`` of the chosen episodes; see `EnvironmentTrajectories.slice`."""
        if not 0 <= start < stop <= self.num_steps:
            raise IndexError(f"{self.info.name}: steps {start}:{stop} of {self.num_steps}")
        pieces = []
        run = int(np.searchsorted(self._runs, start, side="right")) - 1
        while start < stop:
            until, shift = min(stop, int(self._runs[run + 1])), int(self._origins[run] - self._runs[run])
            pieces.append(self._stream.slice(start + shift, until + shift))
            start, run = until, run + 1
        return pieces[0] if len(pieces) == 1 else _joined(pieces)

    def statistics(self) -> dict[str, Any]:
        """Those of the whole stream."""
        return self._stream.statistics()

    def episode_returns(self) -> np.ndarray:
        """Of the chosen episodes ``(num_episodes,)``."""
        return self._stream.episode_returns()[self.episodes]


def _joined(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    for name, first in pieces[0].items():
        if name in ROLES:
            steps[name] = {path: np.concatenate([piece[name][path] for piece in pieces]) for path in first}
        else:
            steps[name] = np.concatenate([piece[name] for piece in pieces])
    return steps


def select_by_return(stream: EnvironmentTrajectories, min_percentile: float) -> SelectedTrajectories:
    """The episodes whose return is at or above a percentile of all returns; at least the best one.

    Args:
        stream: to choose from.
        min_percentile: 0 keeps all, 75 the best quarter (more where returns are equal), 100 the best.

    Raises:
        DatasetError: if it is not between 0 and 100.
    """
    if not 0 <= min_percentile <= 100:
        raise DatasetError(f"min_return_percentile lies between 0 and 100, not at {min_percentile:g}.")
    returns = stream.episode_returns()
    # an interpolated percentile would drop equal returns by rounding: take one that occurs
    limit = np.percentile(returns, min_percentile, method="higher")
    return SelectedTrajectories(stream, np.flatnonzero(returns >= limit))
