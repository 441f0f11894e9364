"""Only the better episodes of a stream: for logs of mixed quality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DatasetError
from ..spaces import Arrays, Statistics, Steps
from .reader import EnvironmentTrajectories
from .windows import GOLDEN

COPIES = 4  # episodes of a weighted stream, in those of the stream itself


class SelectedTrajectories:
    """Some episodes of a stream, one after another; it is read like the stream itself.

    Its statistics are those of all episodes: what is observed does not depend on which actions are worth imitating.

    Args:
        stream: stream to choose from.
        episodes: numbers of the chosen episodes in the order in which they follow each other, at least one; some may
            come again.
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
        return joined(pieces)

    def statistics(self) -> Statistics:
        """The statistics of the whole stream."""
        return self._stream.statistics()

    def episode_returns(self) -> np.ndarray:
        """Sum of rewards of every chosen episode ``(num_episodes,)``."""
        returns: np.ndarray = self._stream.episode_returns()[self.episodes]
        return returns


def joined(pieces: Sequence[Steps]) -> Steps:
    """Pieces one after another as one."""
    if len(pieces) == 1:
        return pieces[0]
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


def select(stream: EnvironmentTrajectories | SelectedTrajectories, episodes: np.ndarray) -> SelectedTrajectories:
    """The episodes of these numbers ``(N,)``, counted among those that the stream has."""
    if isinstance(stream, SelectedTrajectories):
        return SelectedTrajectories(stream._stream, stream.episodes[episodes])
    return SelectedTrajectories(stream, episodes)


def select_by_return(
    stream: EnvironmentTrajectories | SelectedTrajectories, min_percentile: float
) -> SelectedTrajectories:
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
    return select(stream, np.flatnonzero(returns >= limit))


def weigh_by_return(
    stream: EnvironmentTrajectories | SelectedTrajectories, temperature: float, deviation: float | None = None
) -> SelectedTrajectories:
    """Episodes as often as their return deserves: in proportion to exp(return / (temperature x deviation)).

    To clone such a stream is reward-weighted regression (Peters & Schaal 2007), with whole episodes for actions.
    Copies of an episode are spread over the stream, which has `COPIES` times as many episodes; those whose share is
    too small for one copy are left out.

    Args:
        stream: stream to draw from.
        temperature: in deviations of the returns; small ones keep the best episodes only, large ones weigh all alike.
        deviation: standard deviation of the returns; by default of those of the stream.

    Raises:
        DatasetError: if the temperature is not above 0.
    """
    if not 0 < temperature < np.inf:
        raise DatasetError(f"the temperature of return weights should be above 0, not {temperature:g}.")
    returns = stream.episode_returns()
    scale = temperature * (returns.std() if deviation is None else deviation)
    weights = np.exp((returns - returns.max()) / scale) if scale > 0 else np.ones(len(returns))
    copies = np.floor(COPIES * len(returns) * weights / weights.sum() + 0.5).astype(np.int64)
    copies[returns.argmax()] = max(copies[returns.argmax()], 1)
    numbers = np.repeat(np.arange(len(returns)), copies)
    turn = np.arange(len(numbers)) - np.repeat(np.cumsum(copies) - copies, copies)
    # copy k of n comes at (k + phase) / n of the stream; golden sections are phases that keep episodes apart
    place = (turn + numbers * GOLDEN % 1) / copies[numbers]
    return select(stream, numbers[np.argsort(place, kind="stable")])
