"""What a run would need, estimated before it starts from two measured updates."""

from __future__ import annotations

import resource
import sys

import torch
from accelerate import Accelerator, DistributedType
from rich.table import Table

from ..collection.endless import EndlessWorlds
from ..modeling_ldm import LDMForActionPrediction
from .arguments import TrainingRun
from .batches import SegmentDataset

GIB = 2**30
STATES = 16  # bytes per trained parameter: weight, gradient and AdamW's two moments in float32


def plan_table(
    accelerator: Accelerator,
    model: LDMForActionPrediction,
    batches: SegmentDataset,
    args: TrainingRun,
    measured: dict[str, float],
) -> Table:
    """A table of a run's parameters, memory, length of an epoch and time.

    Args:
        accelerator: accelerator of this process, after two updates.
        model: model to train.
        batches: batches of the run.
        args: options of the run.
        measured: line of the log after the second update.
    """
    processes, device = accelerator.num_processes, accelerator.device
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    shards = processes if accelerator.distributed_type == DistributedType.FSDP else 1
    states = (4 * parameters + (STATES - 4) * trained) / shards
    update = batches.sampler.segment * args.batch_size * args.gradient_accumulation_steps * processes
    stored = [stream for stream in batches.trajectories.values() if not isinstance(stream, EndlessWorlds)]
    transitions = sum(stream.num_steps for stream in stored)
    seconds = args.max_steps * update / measured["tokens_per_second"]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    table = Table(title=f"{len(stored)} environments, nothing written yet", show_header=False)
    rows = {
        "parameters": f"{parameters:,}, {trained:,} of them trained",
        "devices": f"{processes} × {device.type}, {accelerator.mixed_precision} mixed precision",
        "memory per device": f"{peak / GIB:.2f} GiB at the highest, {states / GIB:.2f} of them weights, gradients and "
        "moments",
        "an update": f"{update:,} steps: {args.batch_size} segments of {batches.sampler.segment} × "
        f"{args.gradient_accumulation_steps} micro-batches × {processes} processes",
        "an epoch": f"{transitions / update:,.1f} updates ({transitions:,} transitions)",
        "the run": f"{args.max_steps:,} updates, {args.max_steps * update / transitions:,.1f} epochs",
        "speed": f"{measured['transitions_per_second']:,.0f} transitions/s, MFU {measured['mfu']:.0%}, "
        f"{measured['waiting']:.1%} of the time waiting for data",
        "time": f"{seconds / 3600:.1f} hours" if seconds > 7200 else f"{seconds / 60:.1f} minutes",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def peak_memory() -> int:
    """The most memory that this process has had, libraries included, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
