"""Pretraining: one model on the trajectories of many environments, by next-action prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from accelerate import Accelerator

from ..collection.endless import endless_worlds
from ..configuration_ldm import LDMConfig
from ..errors import ArgumentError, LDMError
from ..modeling_ldm import LDMForActionPrediction
from ..trajectories import Streams, open_dataset
from .arguments import TrainingRun, option
from .batches import Source, processor_for
from .loop import train


@dataclass(kw_only=True)
class Pretraining(TrainingRun):
    """Options of pretraining."""

    preset: str = option("ldm-nano", "size of a new model: ldm-nano, ldm-small or ldm-base")
    layer_windows: list[int] = field(
        default_factory=list,
        metadata={
            "help": "steps that each layer sees, such as 32 32 512; by default those of the preset or of --model"
        },
    )
    scaled_task: bool = option(
        False, "with --model: let task texts count less beside what a step shows, as new models of all presets do"
    )
    model: str | None = option(None, "folder or Hub id of a pretrained LDM to start from instead of a preset")
    backbone: str | None = option(
        None, "folder or Hub id of a pretrained language model whose decoder to start from instead"
    )
    random_worlds: float = option(
        0.0, "share of segments from endless worlds, each generated when its turn comes and met once; below 1"
    )


def pretrain(accelerator: Accelerator, args: Pretraining) -> None:
    """Trains a model on a dataset or a mixture, and saves it.

    Args:
        accelerator: accelerator of this process, from `make_accelerator`.
        args: options of the run.

    Raises:
        ArgumentError: if the share of random worlds is impossible.
        LDMError: if the options name two models to start from, or windows for a language model; see also `train`.
    """
    trajectories = open_dataset(
        args.dataset, args.environments or None, args.min_return_percentile, args.test_episodes
    )
    model = starting_model(args)
    processor = processor_for(model.config, trajectories)
    segment = args.segment or model.config.default_segment
    sources, weights = with_random_worlds(trajectories, segment, args.random_worlds)
    train(accelerator, model, processor, sources, args, weights)


def with_random_worlds(
    trajectories: Streams, segment: int, share: float
) -> tuple[Mapping[str, Source], dict[str, float]]:
    """Stored streams and the endless worlds of all kinds beside them.

    Args:
        trajectories: the stored streams.
        segment: steps of a segment.
        share: share of all segments that come from endless worlds, of each kind as many.

    Returns:
        The sources of segments by name, and their weights.

    Raises:
        ArgumentError: if the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ArgumentError(
            f"--random_worlds is {share:g}; give a share of the segments from 0 to below 1, such as 0.2"
        )
    if not share:
        return trajectories, trajectories.weights
    worlds = endless_worlds(segment)
    each = sum(trajectories.weights.values()) * share / (1 - share) / len(worlds)
    return {**trajectories, **worlds}, trajectories.weights | dict.fromkeys(worlds, each)


def starting_model(args: Pretraining) -> LDMForActionPrediction:
    """The model to start from: pretrained, with a pretrained decoder, or new."""
    if args.model and args.backbone:
        raise LDMError("--model and --backbone both say where to start from; give one of them")
    if args.layer_windows and args.backbone:
        raise LDMError("--layer_windows is for a preset or an LDM; a language model has a window of its own")
    if args.model:
        # neither has weights of its own (attention has none for a distance): the model only has to learn to use it
        asked = {"layer_windows": args.layer_windows, "scaled_task": args.scaled_task}
        if not any(asked.values()):
            return LDMForActionPrediction.from_pretrained(args.model)
        changes = {name: value for name, value in asked.items() if value}
        fields = LDMConfig.from_pretrained(args.model).to_dict() | changes
        return LDMForActionPrediction.from_pretrained(args.model, config=LDMConfig(**fields))
    if args.backbone:
        return LDMForActionPrediction.from_pretrained_backbone(args.backbone)
    return LDMForActionPrediction(LDMConfig.preset(args.preset, layer_windows=args.layer_windows or None))
