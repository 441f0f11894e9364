"""Which segments of which streams a training step sees, recomputable from (seed, rank, step) alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class WindowSampler:
    """Draws segments of ``segment`` consecutive steps.

    Nothing is remembered between steps: a counter-based generator (Philox, Salmon et al. 2011) keyed by seed and step makes resuming exact.
    Environments are drawn by systematic sampling over the global batch, so that each step's shares follow the weights as closely as
    whole numbers can.

    Args:
        num_steps: length of each environment's stream.
        segment: T.
        batch_size: segments per rank and step.
        seed: of the whole run.
        rank: of this process.
        world_size: number of processes.
        weights: by environment, equal by default.

    Raises:
        ValueError: if a weight is negative or all of them are zero.

    Example:
        >>> sampler = WindowSampler({"long": 10_000, "short": 200}, segment=128, batch_size=4)
        >>> sampler.windows(step=7) == sampler.windows(step=7)
        True
        >>> sorted(name for name, first_step in sampler.windows(step=7))
        ['long', 'long', 'short', 'short']
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
    ) -> None:
        self.names = sorted(num_steps)
        self.segment, self.batch_size, self.seed, self.rank, self.world_size = (
            segment,
            batch_size,
            seed,
            rank,
            world_size,
        )
        self._lengths = np.array([num_steps[name] for name in self.names])
        raw = np.array([1.0 if weights is None else weights[name] for name in self.names])
        if not len(raw) or (raw < 0).any() or raw.sum() <= 0:
            raise ValueError(
                f"weights must not be negative and not all zero, got {dict(zip(self.names, raw, strict=True))}"
            )
        self._bounds = np.cumsum(raw / raw.sum())

    def windows(self, step: int) -> list[tuple[str, int]]:
        """The (environment, first step) pairs of this rank's batch ``step``."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, step))))
        count = self.batch_size * self.world_size
        points = (rng.permutation(count) + rng.random()) / count
        places = rng.random(count)
        mine = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        chosen = np.minimum(np.searchsorted(self._bounds, points[mine], side="right"), len(self.names) - 1)
        starts = (places[mine] * np.maximum(self._lengths[chosen] - self.segment + 1, 1)).astype(np.int64)
        return [(self.names[index], int(start)) for index, start in zip(chosen, starts, strict=True)]
