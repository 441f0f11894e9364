"""Only the better episodes of a stream: for logs of mixed quality."""

from __future__ import annotations

import numpy as np

from ..errors import DatasetError
from ..spaces import Arrays, Statistics, Steps
from .reader import EnvironmentTrajectories


class SelectedTrajectories:
    """Some episodes of a stream, one after another; it is read like the stream itself.

    Its statistics are those of all episodes: what is observed does not depend on which actions are worth imitating.

    Args:
        stream: stream to choose from.
        episodes: numbers of the chosen episodes, increasing, at least one.
    """

    def __init__(self, stream: EnvironmentTrajectories, episodes: np.ndarray) -> None:
        self._stream, self.episodes = stream, np.asarray(episodes)
        self.folder, self.info = stream.folder, stream.info
        self.observation_space, self.action_space = stream.observation_space, stream.action_space
        lengths = np.diff(stream.episode_starts)[self.episodes]
        self.episode_starts = np.concatenate([[0], np.cumsum(lengths)])
        # neighbours that are both chosen are read in one go
        joined = np.flatnonzero(np.diff(self.episodes) != 1) + 1
        firsts = np.concatenate([[0], joined])
        self._runs = self.episode_starts[np.append(firsts, len(self.episodes))]
        self._origins = stream.episode_starts[self.episodes[firsts]]

    def part(self, start: int, stop: int) -> SelectedTrajectories:
        """The chosen episodes ``start`` to ``stop`` alone, counted among the chosen ones."""
        return SelectedTrajectories(self._stream, self.episodes[start:stop])

    @property
    def num_episodes(self) -> int:
        """Number of chosen episodes."""
        return len(self.episodes)

    @property
    def num_steps(self) -> int:
        """Length of the chosen episodes together."""
        return int(self.episode_starts[-1])

    def slice(self, start: int, stop: int) -> Steps:
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

    def statistics(self) -> Statistics:
        """The statistics of the whole stream."""
        return self._stream.statistics()

    def episode_returns(self) -> np.ndarray:
        """Sum of rewards of every chosen episode ``(num_episodes,)``."""
        returns: np.ndarray = self._stream.episode_returns()[self.episodes]
        return returns


def _joined(pieces: list[Steps]) -> Steps:
    """Pieces one after another as one."""
    return {
        "observation": _joined_leaves([piece["observation"] for piece in pieces]),
        "action": _joined_leaves([piece["action"] for piece in pieces]),
        "label": _joined_leaves([piece["label"] for piece in pieces]),
        "reward": np.concatenate([piece["reward"] for piece in pieces]),
        "terminated": np.concatenate([piece["terminated"] for piece in pieces]),
        "truncated": np.concatenate([piece["truncated"] for piece in pieces]),
    }


def _joined_leaves(pieces: list[Arrays]) -> Arrays:
    """The values of each leaf, one piece after another."""
    return {path: np.concatenate([piece[path] for piece in pieces]) for path in pieces[0]}


def select_by_return(stream: EnvironmentTrajectories, min_percentile: float) -> SelectedTrajectories:
    """The episodes whose return is at or above a percentile of all returns; at least the best one.

    Args:
        stream: stream to choose from.
        min_percentile: 0 keeps all, 75 the best quarter (more where returns are equal), 100 the best.

    Raises:
        DatasetError: if it is not between 0 and 100.
    """
    if not 0 <= min_percentile <= 100:
        raise DatasetError(f"min_return_percentile should be between 0 and 100, not at {min_percentile:g}.")
    returns = stream.episode_returns()
    # an interpolated percentile would drop equal returns by rounding: take one that occurs
    limit = np.percentile(returns, min_percentile, method="higher")
    return SelectedTrajectories(stream, np.flatnonzero(returns >= limit))
