"""Batches for training: which segments, how encoded, each recomputable from (seed, number of the segment) alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from transformers import BatchFeature

from ..layout_ldm import EncodedSteps
from ..processing_ldm import LDMProcessor
from ..trajectories import WindowSampler
from ..trajectories.streams import Stream

ENCODING = 1 << 32  # keeps the random numbers of the encoding apart from those of the sampler


class SegmentDataset(Dataset):
    """Item ``i`` is the encoded batch of training step ``i``.

    A segment is cut anywhere in a stream, so that a model also sees the middle of episodes with little history. Some are encoded as an agent would
    in less favourable circumstances: without the environment's statistics, without a task text, without rewards.

    Args:
        trajectories: by environment.
        processor: knows these environments.
        sampler: draws (environment, start) pairs.
        num_batches: length of the dataset.
        unknown_statistics: share of segments standardised by the stream so far.
        no_task: share of segments without task text.
        no_reward: share of segments without rewards.
        max_past: steps before a segment that the statistics of its stream so far may come from.
    """

    def __init__(
        self,
        trajectories: Mapping[str, Stream],
        processor: LDMProcessor,
        sampler: WindowSampler,
        num_batches: int,
        unknown_statistics: float = 0.3,
        no_task: float = 0.5,
        no_reward: float = 0.05,
        max_past: int = 4096,
    ) -> None:
        self.trajectories, self.processor, self.sampler, self.num_batches = (
            trajectories,
            processor,
            sampler,
            num_batches,
        )
        self.unknown_statistics, self.no_task, self.no_reward = unknown_statistics, no_task, no_reward
        self.max_past = max_past

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, step: int) -> BatchFeature:
        if not 0 <= step < self.num_batches:
            raise IndexError(step)
        numbers = self.sampler.numbers(step)
        # four random numbers are one count of the generator: row i has those of segment number first + i, whatever the batch
        random = np.random.Philox(key=self.sampler.seed | ENCODING << 64, counter=numbers.start)
        chances = np.random.Generator(random).random((len(numbers), 4))
        return self.processor(
            [self.encode(*self.sampler.window(number), *row) for number, row in zip(numbers, chances, strict=True)]
        )

    def encode(
        self, name: str, start: int, statistics: float, task: float, reward: float, past: float
    ) -> EncodedSteps:
        """Encodes one segment.

        Args:
            name: of the environment.
            start: first step of the segment in its stream.
            statistics: in [0, 1); below ``unknown_statistics``, the segment is standardised by its stream so far.
            task: in [0, 1); below ``no_task``, there is no task text.
            reward: in [0, 1); below ``no_reward``, rewards are not told.
            past: in [0, 1); how far these statistics reach back, as the logarithm to base ``max_past``.
        """
        stream = self.trajectories[name]
        known_statistics = statistics >= self.unknown_statistics
        # As many streams that have just begun as ones of tens, hundreds and thousands of steps.
        before = min(start, 1 if known_statistics else int(self.max_past**past) - 1)
        steps = stream.slice(start - before, min(start + self.sampler.segment, stream.num_steps))
        return self.processor.layout(name).encode_segment(
            steps,
            past=before,
            known_statistics=known_statistics,
            with_task=task >= self.no_task,
            with_reward=reward >= self.no_reward,
        )

    def environments(self, step: int) -> list[str]:
        """The environment of each row of batch ``step``."""
        return [name for name, _ in self.sampler.windows(step)]

    def transitions(self, names: list[str]) -> int:
        """Steps in segments of these environments; a stream that is shorter than a segment is padded, which does not count."""
        return sum(min(self.sampler.segment, self.trajectories[name].num_steps) for name in names)


def processor_for(config: Any, trajectories: Mapping[str, Stream], known: LDMProcessor | None = None) -> LDMProcessor:
    """A processor that knows the spaces, statistics and task texts of a dataset's environments.

    Args:
        config: of the model.
        trajectories: by environment.
        known: a processor whose environments stay known; these are added to them.
    """
    processor = known or LDMProcessor.from_config(config)
    for name, stream in trajectories.items():
        processor.add_environment(
            name, stream.observation_space, stream.action_space, stream.statistics(), stream.info.task
        )
    return processor
