"""Batches for training. Each segment and its encoding can be recomputed from (seed, number of the segment) alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import BatchFeature

from ..collection.endless import EndlessWorlds
from ..configuration_ldm import LDMConfig
from ..environments.disguises import PairDisguise
from ..layout_ldm import EncodedSteps, EnvironmentLayout
from ..processing_ldm import LDMProcessor
from ..spaces import Steps
from ..trajectories import WindowSampler
from ..trajectories.streams import Stream

Source = Stream | EndlessWorlds
"""Where segments come from: a stored stream, or worlds that are generated."""

# These make random numbers independent of those of the sampler, and of one another.
ENCODING = 1 << 32
HIDING = 2 << 32
DISGUISE = 3 << 32


class SegmentDataset(Dataset[BatchFeature]):
    """Batches of encoded segments; item ``i`` is the batch of training step ``i``.

    A segment is cut anywhere in a stream, so that a model also sees the middle of episodes with little history, or
    begins where an episode does, as a stream of its own: nothing but the missing past marks an agent's first episode,
    and what counts later is often shown at the beginning, which is seldom in a segment that is shorter than the
    episode. Some are encoded as an agent would have to under less favourable circumstances: without the environment's
    statistics, without a task text, without rewards. In others, previous actions are hidden: where a reference goes on
    with what it did, a model would otherwise learn to copy its last action, and never recover from a mistake. Some are
    disguised (`environments.disguises`), each in its own way, so that only their history tells what an action does. Of
    the labels that repeat the action just executed, a share may be left out, so that the steps at which something has
    to be decided count for more (Wen et al., "Keyframe-Focused Visual Imitation Learning", 2021). Segments of endless
    worlds are the beginnings of histories in worlds that nobody knows. Of an action of very many elements, other ones
    are drawn for each segment, or a single environment may take most of the time of a training.

    Args:
        trajectories: trajectories by environment, and endless worlds by the name of their row.
        processor: processor that knows these environments.
        sampler: sampler of (environment, start) pairs.
        num_batches: length of the dataset.
        unknown_statistics: share of segments standardised by the stream so far.
        no_task: share of segments without task text.
        no_reward: share of segments without rewards.
        max_past: maximal number of steps before a segment that the statistics of its stream so far come from.
        no_action: share of segments without previous actions.
        beginnings: share of segments that begin where their episode begins, as if nothing had been before.
        disguised: share of segments that are disguised.
        repeated_labels: share of the labels that repeat the action just executed which is kept.
        most_elements: elements of an action that a segment is trained on at the most.
    """

    def __init__(
        self,
        trajectories: Mapping[str, Source],
        processor: LDMProcessor,
        sampler: WindowSampler,
        num_batches: int,
        unknown_statistics: float = 0.3,
        no_task: float = 0.5,
        no_reward: float = 0.05,
        max_past: int = 4096,
        no_action: float = 0.0,
        disguised: float = 0.0,
        repeated_labels: float = 1.0,
        most_elements: int = 256,
        beginnings: float = 0.0,
    ) -> None:
        self.trajectories = trajectories
        self.processor = processor
        self.sampler = sampler
        self.num_batches = num_batches
        self.unknown_statistics = unknown_statistics
        self.no_task = no_task
        self.no_reward = no_reward
        self.max_past = max_past
        self.no_action = no_action
        self.disguised = disguised
        self.repeated_labels = repeated_labels
        self.most_elements = most_elements
        self.beginnings = beginnings

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, step: int) -> BatchFeature:
        if not 0 <= step < self.num_batches:
            raise IndexError(step)
        numbers = self.sampler.numbers(step)
        # four random numbers advance the generator's counter by one, so that they depend on the segment's number only
        encoding, hiding, disguise = (
            np.random.Generator(np.random.Philox(key=self.sampler.seed | use << 64, counter=numbers.start)).random(
                (len(numbers), 4)
            )
            for use in (ENCODING, HIDING, DISGUISE)
        )
        chances = np.concatenate([encoding, hiding[:, :2], disguise[:, :2], hiding[:, 3:]], axis=1)
        batch = self.processor(
            [self.encode(*self.sampler.window(number), *row) for number, row in zip(numbers, chances, strict=True)]
        )
        return self._with_fewer_elements(batch, hiding[:, 2])

    def encode(
        self,
        name: str,
        start: int,
        statistics: float,
        task: float,
        reward: float,
        past: float,
        action: float = 1.0,
        repeats: float = 0.0,
        disguise: float = 1.0,
        kind: float = 0.0,
        beginning: float = 1.0,
    ) -> EncodedSteps:
        """Encodes one segment.

        Args:
            name: name of the environment.
            start: first step of the segment in its stream.
            statistics: chance in [0, 1); below ``unknown_statistics``, the segment is standardised by its stream so
                far.
            task: chance in [0, 1); below ``no_task``, there is no task text.
            reward: chance in [0, 1); below ``no_reward``, rewards are hidden.
            past: number of steps that these statistics reach back, as its logarithm to base ``max_past``, in [0, 1).
            action: chance in [0, 1); below ``no_action``, previous actions are hidden.
            repeats: which labels that repeat the action just executed are kept, in [0, 1).
            disguise: chance in [0, 1); below ``disguised``, the segment is disguised, unless it is of an endless world.
            kind: which disguise it is, in [0, 1).
            beginning: chance in [0, 1); below ``beginnings``, the segment begins where the episode of ``start`` does,
                like a stream.
        """
        stream = self.trajectories[name]
        known_statistics = statistics >= self.unknown_statistics
        if isinstance(stream, EndlessWorlds):
            history, before = stream.history(start), 0
            spaces, steps = (history.observation_space, history.action_space), history.steps
            layout = EnvironmentLayout(self.processor.sizes, *spaces, name, task=stream.info.task)
        else:
            # Log-uniform: as many streams that have just begun as ones of tens, hundreds and thousands of steps.
            before = min(start, 1 if known_statistics else int(self.max_past**past) - 1)
            if beginning < self.beginnings:
                start = int(stream.episode_starts[np.searchsorted(stream.episode_starts, start, "right") - 1])
                before = 0
            steps = stream.slice(start - before, min(start + self.sampler.segment, stream.num_steps))
            layout = self.processor.layout(name)
            if disguise < self.disguised:
                layout, steps = self._disguised(layout, steps, int(kind * 2**53))
        kept = None
        if self.repeated_labels < 1:
            length = len(steps["reward"]) - before
            kept = np.random.default_rng(int(repeats * 2**53)).random(length) < self.repeated_labels
            kept[0] = True  # a segment without any label has no loss
        return layout.encode_segment(
            steps,
            past=before,
            known_statistics=known_statistics,
            with_task=task >= self.no_task,
            with_reward=reward >= self.no_reward,
            with_action=action >= self.no_action,
            repeats=kept,
        )

    def _disguised(self, layout: EnvironmentLayout, steps: Steps, seed: int) -> tuple[EnvironmentLayout, Steps]:
        """Layout and steps of an environment in the disguise of a seed."""
        disguise = PairDisguise(layout.observation_space, layout.action_space, seed, roles=None)
        known = self.processor.environments[layout.name]
        statistics = disguise.statistics(known["statistics"])
        disguised = EnvironmentLayout(layout.sizes, *disguise.spaces, layout.name, statistics, known["task"])
        return disguised, disguise.steps(steps)

    def _with_fewer_elements(self, batch: BatchFeature, chances: np.ndarray) -> BatchFeature:
        """The batch with no more elements of the action in a row than are trained on; the others are not computed.

        Args:
            batch: the batch.
            chances: which elements are kept, a number in [0, 1) for each row.
        """
        rows = batch["element_rows"].numpy()
        counts = np.bincount(rows, minlength=len(chances))
        if counts.max() <= self.most_elements:
            return batch
        kept = []
        for row, chance in enumerate(chances):
            own, rng = np.flatnonzero(rows == row), np.random.default_rng(int(chance * 2**53))
            few = rng.choice(own, self.most_elements, replace=False) if len(own) > self.most_elements else own
            kept.append(np.sort(few))
        chosen = torch.from_numpy(np.concatenate(kept))
        names = ("element_rows", "element_ids", "element_sizes", "labels")
        return BatchFeature({**batch, **{name: batch[name][chosen] for name in names}})

    def environments(self, step: int) -> list[str]:
        """Names of the environments in the rows of batch ``step``."""
        return [name for name, _ in self.sampler.windows(step)]

    def transitions(self, names: list[str]) -> int:
        """Number of steps in segments of these environments, without the padding of streams shorter than a segment."""
        return sum(min(self.sampler.segment, self.trajectories[name].num_steps) for name in names)


def processor_for(
    config: LDMConfig, trajectories: Mapping[str, Stream], known: LDMProcessor | None = None
) -> LDMProcessor:
    """A processor that knows the spaces, statistics and task texts of a dataset's environments.

    Args:
        config: configuration of the model.
        trajectories: trajectories by environment.
        known: a processor to add the environments to; by default a new one.
    """
    processor = known or LDMProcessor.from_config(config)
    for name, stream in trajectories.items():
        processor.add_environment(
            name, stream.observation_space, stream.action_space, stream.statistics(), stream.info.task
        )
    return processor
