#!/usr/bin/env python
"""Peak memory of a training step by length of the segment: measured, and calculated for ldm-base.

python benchmarks/memory.py --json outputs/benchmarks/memory.json
"""

from __future__ import annotations

import multiprocessing
import resource

import torch
from common import model_of, parser, random_segments, show, sized

from ldm_hf import LDMConfig, LDMForActionPrediction


def peak(steps: int, hidden: int, layers: int, window: int) -> int:
    """Bytes by which the peak memory of this (fresh) process grows in a training step of one segment."""
    torch.set_num_threads(1)
    config = sized(hidden, layers, window)
    model = model_of(config, "cpu").train()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model(**random_segments(config, 1, steps)).loss.backward()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def on_paper(steps: int) -> dict[str, float]:
    """Calculated GiB of ldm-base: weights, gradients and AdamW's moments in float32, activations in bf16."""
    config = LDMConfig.preset("ldm-base")
    with torch.device("meta"):
        parameters = sum(p.numel() for p in LDMForActionPrediction(config).parameters())
    backbone = config.backbone_config
    # kept for the backward pass per token and layer: two norms, q, k, v, their norms and rotations, attention's output,
    # three of the MLP
    kept = 2 * (11 * backbone.hidden_size + 3 * backbone.intermediate_size)
    states, activations = 16 * parameters, kept * backbone.num_hidden_layers * steps
    gib = 2**30
    return {
        "states": states / gib,
        "activations a segment": activations / gib,
        "checkpointed": 2 * backbone.hidden_size * backbone.num_hidden_layers * steps / gib,
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--hidden", type=int, default=192, help="hidden size")
    made.add_argument("--layers", type=int, default=3, help="number of layers")
    made.add_argument("--window", type=int, default=32, help="attention window in steps")
    made.add_argument("--steps", type=int, nargs="+", default=[128, 256, 512, 1024, 2048, 4096], help="lengths")
    args = made.parse_args()
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for steps in args.steps:
            measured = pool.apply(peak, (steps, args.hidden, args.layers, args.window))
            paper = {f"ldm-base, {name} (GiB)": value for name, value in on_paper(steps).items()}
            rows.append(
                {"T": steps, "measured (MiB)": measured / 2**20, "KiB a step": measured / 1024 / steps, **paper}
            )
    show(f"Memory of a training step of one segment of T steps; measured: {args.layers} x {args.hidden}", rows, args)


if __name__ == "__main__":
    main()
