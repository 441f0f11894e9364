"""Batches for pretraining: which segments, how encoded, each recomputable from (seed, rank, step) alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import BatchFeature

from .processing_ldm import EncodedSteps, LDMProcessor
from .trajectories import EnvironmentTrajectories, WindowSampler

ENCODING_STREAM = 1  # keeps the random numbers of the encoding apart from those of the sampler


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
        trajectories: Mapping[str, EnvironmentTrajectories],
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
        windows = self.sampler.windows(step)
        key = (self.sampler.seed, self.sampler.rank, step, ENCODING_STREAM)
        chances = np.random.Generator(np.random.Philox(np.random.SeedSequence(key))).random((len(windows), 4))
        return self.processor(
            [self.encode(name, start, *row) for (name, start), row in zip(windows, chances, strict=True)]
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


def processor_for(config: Any, trajectories: Mapping[str, EnvironmentTrajectories]) -> LDMProcessor:
    """A processor that knows the spaces, statistics and task texts of a dataset's environments."""
    processor = LDMProcessor.from_config(config)
    for name, stream in trajectories.items():
        processor.add_environment(
            name, stream.observation_space, stream.action_space, stream.statistics(), stream.info.task
        )
    return processor


def domain_losses(names: list[str], losses: list[float], domains: dict[str, str]) -> dict[str, float]:
    """Mean loss of each domain."""
    by_domain: dict[str, list[float]] = {}
    for name, loss in zip(names, losses, strict=True):
        by_domain.setdefault(domains[name], []).append(loss)
    return {domain: sum(values) / len(values) for domain, values in sorted(by_domain.items())}


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices only: not on biases, norms or embedding tables."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    decayed = [p for p in model.parameters() if p.dim() >= 2 and id(p) not in tables]
    others = [p for p in model.parameters() if p.dim() < 2 or id(p) in tables]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def cosine_with_warmup(step: int, warmup: int, total: int, final: float = 0.05) -> float:
    """Factor of the learning rate: linear up, then a cosine down to ``final``."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def best_mixed_precision(device: torch.device) -> str:
    """``"bf16"`` on GPUs that multiply it natively, else ``"no"``.

    On CPUs bf16 autocast loses: 0.6 times the speed of float32 for ldm-nano on a CPU with AVX512-BF16, 1/60 on one without.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "no"
