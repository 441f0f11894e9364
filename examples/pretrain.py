#!/usr/bin/env python
"""Pretrains one LDM on the trajectories of many environments by next-action prediction.

    accelerate launch examples/pretrain.py --dataset outputs/trajectories --preset ldm-nano \\
        --output_dir outputs/ldm-nano --max_steps 2000

With ``--resume_from_checkpoint latest``, the same command continues an interrupted run, with the losses that the
uninterrupted one would have had. ``--dry_run`` reports size, memory and speed. For several devices, see
examples/accelerate/.
"""

from __future__ import annotations

from ldm_hf.training import Pretraining as Arguments
from ldm_hf.training import make_accelerator, pretrain, run_script


def main(args: Arguments) -> None:
    """Trains a model on the dataset and saves it."""
    pretrain(make_accelerator(args), args)


if __name__ == "__main__":
    run_script(Arguments, main)
