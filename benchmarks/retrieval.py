"""The honest baseline: the label of the nearest observation seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ldm_hf import LDMProcessor
from ldm_hf.rollouts.lane import Lane
from ldm_hf.spaces import Action, Arrays, stack, unflatten
from ldm_hf.statistics_ldm import standardise
from ldm_hf.trajectories import EnvironmentTrajectories


class Features:
    """Observations as numbers and symbols, as the model's processor sees them.

    Args:
        stream: Steps whose spaces and statistics are used.
        pooled: Side in pixels of the squares that images are averaged over.
    """

    def __init__(self, stream: EnvironmentTrajectories, pooled: int = 1) -> None:
        self.pooled, processor = pooled, LDMProcessor()
        processor.add_environment("", stream.observation_space, stream.action_space, stream.statistics())
        self.layout = processor.layout("")

    def __call__(self, parts: Arrays, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and symbols ``(count, columns)`` of observations, pixels among the numbers."""
        layout, encoder = self.layout, self.layout.observations
        numbers = encoder.numbers(parts, count)
        encoded = encoder.encode(parts, numbers, standardise(numbers, layout.mean, layout.spread))
        pixels = [] if encoded.pixels is None else [self._pool(encoded.pixels.swapaxes(0, 1)).reshape(count, -1)]
        grids = [] if encoded.grid is None else [encoded.grid.swapaxes(0, 1).reshape(count, -1)]
        return (
            np.concatenate([encoded.numeric, *pixels], axis=1, dtype=np.float32),
            np.concatenate([encoded.categorical, *grids], axis=1),
        )

    def _pool(self, pixels: np.ndarray) -> np.ndarray:
        """Images ``(..., size, size)`` of uint8 as numbers up to 1, averaged over squares."""
        *batch, size, _ = pixels.shape
        squares = pixels.reshape(*batch, size // self.pooled, self.pooled, size // self.pooled, self.pooled)
        averaged: np.ndarray = squares.mean((-3, -1), dtype=np.float32) / np.float32(255)
        return averaged


class Demonstrations:
    """Steps of streams as numbers and symbols ``(steps, columns)`` with their labels.

    Args:
        streams: Demonstrations, all of the same spaces; numbers are standardised by the statistics of the first stream.
        limit: Most steps to read, as many from each stream; all by default.
        seed: Seed of the random choice of these steps.
        once: Of equal observations, take the first.
        pooled: As for `Features`.
    """

    def __init__(
        self,
        streams: Sequence[EnvironmentTrajectories],
        limit: int | None = None,
        seed: int = 0,
        once: bool = True,
        pooled: int = 1,
    ) -> None:
        self.features, rng, found = Features(streams[0], pooled), np.random.default_rng(seed), []
        for stream in streams:
            steps = stream.slice(0, stream.num_steps)
            taken = np.sort(rng.permutation(stream.num_steps)[: limit and max(1, limit // len(streams))])
            observations, labels = (
                {path: values[taken] for path, values in steps[role].items()} for role in ("observation", "label")
            )
            found.append((labels, *self.features(observations, len(taken))))
        numbers = np.concatenate([numbers for _, numbers, _ in found])
        symbols = np.concatenate([symbols for *_, symbols in found])
        kept = _first_of_each(numbers, symbols) if once else slice(None)
        self.labels = {path: np.concatenate([labels[path] for labels, *_ in found])[kept] for path in found[0][0]}
        self.numbers, self.symbols = numbers[kept], symbols[kept]


class Retrieval(Demonstrations):
    """A policy without history: acts as labelled at the nearest observation.

    The distance is the squared one of standardised numbers, plus 1 for each symbol that differs. Of equal observations,
    the search finds the first.

    Args:
        streams: Demonstrations, all of the same spaces; numbers are standardised by the statistics of the first stream.
        limit: Most steps to search, as many from each stream; all by default.
        seed: Seed of the random choice of these steps.
    """

    def __init__(self, streams: Sequence[EnvironmentTrajectories], limit: int | None = None, seed: int = 0) -> None:
        super().__init__(streams, limit, seed)
        self.lengths = np.square(self.numbers).sum(1)

    def start(self, lanes: list[Lane]) -> None: ...

    def begin(self, index: int, lane: Lane) -> None: ...

    def act(self, lanes: list[Lane]) -> list[Action]:
        layout = self.features.layout
        parts = stack(layout.observation_space, [lane.observation for lane in lanes])
        actions = []
        for numbers, symbols in zip(*self.features(parts, len(lanes)), strict=True):
            # squared distance, without the term that all share
            distance = self.lengths - 2 * (self.numbers @ numbers) + (self.symbols != symbols).sum(1)
            nearest = int(distance.argmin())
            values = {path: labels[nearest] for path, labels in self.labels.items()}
            actions.append(unflatten(layout.action_space, values))
        return actions


def _first_of_each(*columns: np.ndarray) -> np.ndarray:
    """Indices of the rows that are not equal to an earlier one."""
    rows = np.concatenate(
        [np.ascontiguousarray(part).view(np.uint8).reshape(len(part), -1) for part in columns], axis=1
    )
    return np.sort(np.unique(rows, axis=0, return_index=True)[1])
