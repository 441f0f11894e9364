#!/usr/bin/env python
"""Trains an LDM with a plain PyTorch loop: dataset, processor, model, optimiser, and nothing else.

    python examples/train_by_hand.py --dataset outputs/trajectories --output outputs/by-hand --updates 500

examples/pretrain.py does the same with a schedule, checkpoints, mixed precision and several devices.
"""

from __future__ import annotations

import argparse

import torch

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.training import SegmentDataset, processor_for
from ldm_hf.trajectories import WindowSampler, open_dataset


def main() -> None:
    """Trains and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="folder or Hub id of trajectories")
    parser.add_argument("--output", default="outputs/by-hand", help="folder of the model")
    parser.add_argument("--preset", default="ldm-nano", help="ldm-nano, ldm-small or ldm-base")
    parser.add_argument("--updates", type=int, default=200, help="optimiser steps")
    parser.add_argument("--segment", type=int, default=128, help="environment steps per training segment")
    parser.add_argument("--batch-size", type=int, default=8, help="segments per update")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="constant learning rate")
    args = parser.parse_args()

    trajectories = open_dataset(args.dataset)
    model = LDMForActionPrediction(LDMConfig.preset(args.preset))
    processor = processor_for(model.config, trajectories)  # takes spaces, statistics and task texts from the data
    # Which piece of which environment a segment is follows from the seed and the number of the segment.
    lengths = {name: stream.num_steps for name, stream in trajectories.items()}
    sampler = WindowSampler(lengths, args.segment, args.batch_size, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate)

    for update, batch in enumerate(SegmentDataset(trajectories, processor, sampler, num_batches=args.updates), 1):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if update % 10 == 0 or update == args.updates:
            print(f"update {update}: loss {loss.item():.3f}")

    model.save_pretrained(args.output)
    processor.save_pretrained(args.output)


if __name__ == "__main__":
    main()
