"""Which segments of which streams a run sees, each recomputable from (seed, number of the segment) alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

import numpy as np

DRAWS = 256  # segments per average environment in one cycle of the schedule; weights are rounded to 1/256
TURNS, LAPS = 0, 1  # kinds of random numbers
GOLDEN = (math.sqrt(5) - 1) / 2

Places = TypeVar("Places", int, np.ndarray)


class WindowSampler:
    """Draws segments of ``segment`` consecutive steps.

    A run is one endless sequence of numbered segments, which does not depend on how many processes share it or how
    large their batches are: batch ``step`` of ``rank`` has the next ``batch_size`` numbers of
    ``world_size * batch_size``. A counter-based generator (Philox, Salmon et al. 2011) keyed by the seed gives the
    segment of any number, so that nothing has to be remembered and resuming is exact.

    * Environments take turns by their weights, spread as evenly as whole numbers can by golden-section steps (Kronecker
      sequence).
    * Within an environment, a lap cuts the stream into segments that do not overlap, at a random phase, and draws each
      of them once. Every start is equally likely. No step is drawn twice in a lap; up to ``2 * segment`` steps at the
      ends and between segments are left for other laps.

    Args:
        num_steps: length of each environment's stream.
        segment: length T of a segment.
        batch_size: segments per rank and step.
        seed: seed of the whole run.
        rank: rank of this process.
        world_size: number of processes.
        weights: weight of each environment; equal by default.
        first: number of the first segment of step 0; a run that goes on with other batches starts where it was.

    Raises:
        ValueError: if a weight is negative or all of them are zero.

    Example:
        >>> sampler = WindowSampler({"long": 10_000, "short": 200}, segment=128, batch_size=4)
        >>> sampler.windows(step=7) == sampler.windows(step=7)
        True
        >>> sorted(name for name, first_step in sampler.windows(step=7))
        ['long', 'long', 'long', 'short']
    """

    def __init__(
        self,
        num_steps: Mapping[str, int],
        segment: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        weights: Mapping[str, float] | None = None,
        first: int = 0,
    ) -> None:
        self.names = sorted(num_steps)
        self.segment, self.seed, self.first = segment, seed, first
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        # possible starts of a segment in each environment, and segments in a lap
        self._starts = [max(num_steps[name] - segment + 1, 1) for name in self.names]
        self._tiles = [max(starts // segment, 1) for starts in self._starts]
        raw = np.array([1.0 if weights is None else weights[name] for name in self.names])
        if not len(raw) or (raw < 0).any() or raw.sum() <= 0:
            raise ValueError(
                f"weights must not be negative and not all zero, got {dict(zip(self.names, raw, strict=True))}"
            )
        self._counts = _whole(raw / raw.sum() * DRAWS * np.count_nonzero(raw))
        bounds = np.cumsum(self._counts)
        self._size = int(bounds[-1])
        places = _spread(np.arange(self._size), self._size, _random(seed, TURNS, 0)[0])
        # whose turn each place of a cycle is, and how many turns that environment had earlier in the cycle
        self._turns = np.searchsorted(bounds, places, side="right")
        self._earlier = np.empty(self._size, np.int64)
        self._earlier[np.argsort(self._turns, kind="stable")] = np.arange(self._size) - np.repeat(
            bounds - self._counts, self._counts
        )

    def numbers(self, step: int) -> range:
        """The numbers of the segments of this rank's batch ``step``."""
        start = self.first + (step * self.world_size + self.rank) * self.batch_size
        return range(start, start + self.batch_size)

    def order(self, step: int) -> list[str]:
        """The environments, except those of weight 0, in the order in which batch ``step`` and later ones draw them."""
        turns = np.roll(self._turns, -(self.numbers(step).start % self._size))
        drawn, first = np.unique(turns, return_index=True)
        return [self.names[index] for index in drawn[np.argsort(first)]]

    def windows(self, step: int) -> list[tuple[str, int]]:
        """The (environment, first step) pairs of this rank's batch ``step``."""
        return [self.window(number) for number in self.numbers(step)]

    def window(self, number: int) -> tuple[str, int]:
        """The (environment, first step) pair of a segment."""
        block, place = divmod(number, self._size)
        index = int(self._turns[place])
        turn = block * int(self._counts[index]) + int(self._earlier[place])
        tiles = self._tiles[index]
        lap, tile = divmod(turn, tiles)
        shift, phase = _random(self.seed, LAPS + index, lap)
        tile = _spread(tile, tiles, shift)
        return self.names[index], int((tile + phase) * self._starts[index] / tiles)


def _whole(shares: np.ndarray) -> np.ndarray:
    """Whole numbers of the same sum, at least 1 where a share is not 0: the largest remainders are rounded up."""
    counts: np.ndarray = np.floor(shares).astype(np.int64)
    order = np.argsort(counts - shares, kind="stable")
    counts[order[: round(shares.sum()) - counts.sum()]] += 1
    counts = np.maximum(counts, shares > 0)
    return counts


@lru_cache(maxsize=4096)
def _random(seed: int, kind: int, counter: int) -> tuple[float, float]:
    """Two random numbers in [0, 1)."""
    first, second = np.random.Generator(np.random.Philox(key=seed | kind << 64, counter=counter << 64)).random(2)
    return float(first), float(second)


def _spread(place: Places, size: int, shift: float) -> Places:
    """Permutes places of ``range(size)`` so that neighbours come far apart, and any few of them evenly spaced.

    Args:
        place: one place or several.
        size: number of places.
        shift: where place 0 comes, as a share of ``size`` in [0, 1).
    """
    return (place * _stride(size) + int(shift * size)) % size


@lru_cache(maxsize=4096)
def _stride(size: int) -> int:
    """The number nearest to the golden section of ``size`` that has no divisor in common with ``size``."""
    middle = round(size * GOLDEN)
    return next(
        stride
        for distance in range(size + 1)
        for stride in (middle - distance, middle + distance)
        if stride > 0 and math.gcd(stride, size) == 1
    )
