#!/usr/bin/env python
"""Pretrains one LDM on the trajectories of many environments by next-action prediction.

    accelerate launch examples/pretrain.py --dataset outputs/trajectories --preset ldm-nano --output_dir outputs/ldm-nano --max_steps 2000

The same command continues an interrupted run (``--resume_from_checkpoint latest``) with the losses that the uninterrupted one would have had.
``--dry_run`` reports what it would need. Several devices: examples/accelerate/.
"""

from __future__ import annotations

from dataclasses import dataclass

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.errors import LDMError
from ldm_hf.training import TrainingRun, make_accelerator, option, processor_for, run_script, train
from ldm_hf.trajectories import open_dataset


@dataclass(kw_only=True)
class Arguments(TrainingRun):
    """What to train on what, for how long."""

    preset: str = option("ldm-nano", "ldm-nano, ldm-small or ldm-base")
    model: str | None = option(None, "folder or Hub id of a pretrained LDM to start from instead of a preset")
    backbone: str | None = option(
        None, "folder or Hub id of a pretrained language model whose decoder to start from instead"
    )


def make_model(args: Arguments) -> LDMForActionPrediction:
    """The model to start from."""
    if args.model and args.backbone:
        raise LDMError("--model and --backbone both say where to start from; give one of them")
    if args.model:
        return LDMForActionPrediction.from_pretrained(args.model)
    if args.backbone:
        return LDMForActionPrediction.from_pretrained_backbone(args.backbone)
    return LDMForActionPrediction(LDMConfig.preset(args.preset))


def main(args: Arguments) -> None:
    """Trains and saves."""
    accelerator = make_accelerator(args)
    trajectories = open_dataset(args.dataset, args.environments or None, args.min_return_percentile)
    model = make_model(args)
    processor = processor_for(model.config, trajectories)
    train(accelerator, model, processor, trajectories, args, trajectories.weights)


if __name__ == "__main__":
    run_script(Arguments, main)
