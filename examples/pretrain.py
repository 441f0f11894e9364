#!/usr/bin/env python
"""Pretrains one LDM on the trajectories of many environments by next-action prediction.

    accelerate launch examples/pretrain.py --dataset outputs/trajectories --preset ldm-nano \\
        --output_dir outputs/ldm-nano --max_steps 2000

With ``--resume_from_checkpoint latest``, the same command continues an interrupted run, with the losses that the
uninterrupted one would have had. ``--dry_run`` reports size, memory and speed. For several devices, see
examples/accelerate/.
"""

from __future__ import annotations

from dataclasses import dataclass

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.errors import LDMError
from ldm_hf.training import TrainingRun, make_accelerator, option, processor_for, run_script, train
from ldm_hf.trajectories import open_dataset


@dataclass(kw_only=True)
class Arguments(TrainingRun):
    """Options of pretraining."""

    preset: str = option("ldm-nano", "size of a new model: ldm-nano, ldm-small or ldm-base")
    model: str | None = option(None, "folder or Hub id of a pretrained LDM to start from instead of a preset")
    backbone: str | None = option(
        None, "folder or Hub id of a pretrained language model whose decoder to start from instead"
    )


def make_model(args: Arguments) -> LDMForActionPrediction:
    """The model to start from: pretrained, with a pretrained decoder, or new.

    Raises:
        LDMError: if the options name two models to start from.
    """
    if args.model and args.backbone:
        raise LDMError("--model and --backbone both say where to start from; give one of them")
    if args.model:
        return LDMForActionPrediction.from_pretrained(args.model)
    if args.backbone:
        return LDMForActionPrediction.from_pretrained_backbone(args.backbone)
    return LDMForActionPrediction(LDMConfig.preset(args.preset))


def main(args: Arguments) -> None:
    """Trains a model on the dataset and saves it."""
    accelerator = make_accelerator(args)
    names = args.environments or None
    trajectories = open_dataset(args.dataset, names, args.min_return_percentile, args.test_episodes)
    model = make_model(args)
    processor = processor_for(model.config, trajectories)
    train(accelerator, model, processor, trajectories, args, trajectories.weights)


if __name__ == "__main__":
    run_script(Arguments, main)
