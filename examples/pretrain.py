#!/usr/bin/env python
"""Pretrains one LDM on the trajectories of many environments by next-action prediction.

    accelerate launch examples/pretrain.py --dataset outputs/trajectories --preset ldm-nano --output_dir outputs/ldm-nano --max_steps 2000

The same command continues an interrupted run (``--resume_from_checkpoint latest``) with the losses that the uninterrupted one would have had.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, broadcast, set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.errors import CheckpointError, LDMError
from ldm_hf.training import (
    SegmentDataset,
    best_mixed_precision,
    cosine_with_warmup,
    domain_losses,
    parameter_groups,
    processor_for,
)
from ldm_hf.trajectories import WindowSampler, open_dataset


@dataclass
class Arguments:
    """What to train on what, for how long."""

    dataset: str = field(
        metadata={"help": "folder or Hub id of a dataset, or a mixture file (.yaml)", "aliases": ["--mixture"]}
    )
    output_dir: str = field(metadata={"help": "where checkpoints and the model are written"})
    preset: str = field(default="ldm-nano", metadata={"help": "ldm-nano, ldm-small or ldm-base"})
    model: str | None = field(
        default=None, metadata={"help": "folder or Hub id of a pretrained LDM to start from instead of a preset"}
    )
    backbone: str | None = field(
        default=None, metadata={"help": "folder or Hub id of a pretrained language model whose decoder to start from"}
    )
    environments: list[str] = field(
        default_factory=list, metadata={"help": "names of environments; all of the dataset by default"}
    )
    min_return_percentile: float | None = field(
        default=None,
        metadata={"help": "leave out episodes whose return is below this percentile of their environment's"},
    )
    max_steps: int = field(default=1000, metadata={"help": "optimiser steps"})
    segment: int | None = field(
        default=None, metadata={"help": "steps per segment; by default four windows of the model"}
    )
    batch_size: int = field(default=32, metadata={"help": "segments per process and micro-batch"})
    gradient_accumulation_steps: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    max_grad_norm: float = 1.0
    seed: int = 0
    mixed_precision: str = field(default="auto", metadata={"help": "auto, no or bf16"})
    unknown_statistics: float = field(default=0.3, metadata={"help": "share of segments without stored statistics"})
    gradient_checkpointing: bool = False
    cpu_threads: int | None = field(
        default=None,
        metadata={"help": "threads of a process that computes on the CPU; by default its share of the cores"},
    )
    num_workers: int = field(default=0, metadata={"help": "processes that prepare batches"})
    max_minutes: float | None = field(default=None, metadata={"help": "stop and save then; the schedule follows"})
    checkpointing_steps: int = field(default=500, metadata={"help": "0: no checkpoints"})
    keep_checkpoints: int = 2
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "a checkpoint folder, or 'latest' of output_dir"}
    )
    report_to: str = field(
        default="none", metadata={"choices": ["none", "trackio", "tensorboard", "wandb"], "help": "experiment tracker"}
    )
    logging_steps: int = 50


def find_checkpoint(args: Arguments) -> Path | None:
    """The checkpoint to resume from; None to start anew."""
    if args.resume_from_checkpoint is None:
        return None
    if args.resume_from_checkpoint != "latest":
        path = Path(args.resume_from_checkpoint)
        if not (path / "progress.json").exists():
            raise CheckpointError(f"{path} is no checkpoint of examples/pretrain.py (it has no progress.json).")
        return path
    return max(
        Path(args.output_dir).glob("checkpoint-*[0-9]"), key=lambda path: int(path.name.split("-")[1]), default=None
    )


def save_checkpoint(accelerator: Accelerator, args: Arguments, step: int, elapsed: float) -> None:
    """Writes a checkpoint under a temporary name first, so that one that bears its final name is whole."""
    folder = Path(args.output_dir) / f"checkpoint-{step}"
    unfinished = folder.with_name(f"unfinished-{step}")
    accelerator.save_state(str(unfinished))
    if accelerator.is_main_process:
        progress = {"step": step, "elapsed": elapsed, "arguments": asdict(args)}
        (unfinished / "progress.json").write_text(json.dumps(progress, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        kept = sorted(folder.parent.glob("checkpoint-*[0-9]"), key=lambda path: int(path.name.split("-")[1]))
        for old in kept[: -args.keep_checkpoints]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def main(args: Arguments) -> None:
    """Trains and saves."""
    precision = best_mixed_precision(PartialState().device) if args.mixed_precision == "auto" else args.mixed_precision
    accelerator = Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=None if args.report_to == "none" else args.report_to,
        project_dir=args.output_dir,
        # a batch without pixel observations leaves the pixel stem without gradient
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if args.report_to != "none" and not accelerator.log_with:
        raise LDMError(
            f"--report_to {args.report_to}: this tracker is not installed. Install it with: pip install {args.report_to}"
        )
    set_seed(args.seed)
    if accelerator.device.type == "cpu":  # `accelerate launch` sets OMP_NUM_THREADS=1
        torch.set_num_threads(args.cpu_threads or max(1, (os.cpu_count() or 1) // accelerator.num_processes))
    checkpoint = find_checkpoint(args)

    # --- data and model
    trajectories = open_dataset(args.dataset, args.environments or None, args.min_return_percentile)
    domains = {name: stream.info.domain for name, stream in trajectories.items()}
    if args.model and args.backbone:
        raise LDMError("--model and --backbone both say where to start from; give one of them")
    if args.model:
        model = LDMForActionPrediction.from_pretrained(args.model)
    elif args.backbone:
        model = LDMForActionPrediction.from_pretrained_backbone(args.backbone)
    else:
        model = LDMForActionPrediction(LDMConfig.preset(args.preset))
    if args.gradient_checkpointing:
        model.activation_checkpointing_enable()
    processor = processor_for(model.config, trajectories)
    sampler = WindowSampler(
        {name: stream.num_steps for name, stream in trajectories.items()},
        segment=args.segment or 4 * model.config.window,
        batch_size=args.batch_size,
        seed=args.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        weights=trajectories.weights,
    )
    total = args.max_steps * args.gradient_accumulation_steps
    batches = SegmentDataset(trajectories, processor, sampler, total, args.unknown_statistics)

    # --- optimiser
    groups = parameter_groups(model, args.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, betas=(0.9, 0.98), fused=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    step, elapsed = 0, 0.0
    if checkpoint is not None:
        progress = json.loads((checkpoint / "progress.json").read_text())
        accelerator.load_state(str(checkpoint))
        step, elapsed = progress["step"], progress["elapsed"]
    if accelerator.log_with:
        accelerator.init_trackers("ldm_hf", config={name: str(value) for name, value in asdict(args).items()})

    # --- the loop
    micro = args.gradient_accumulation_steps
    steps_per_update = sampler.segment * args.batch_size * micro * accelerator.num_processes
    loader = DataLoader(
        batches, batch_size=None, sampler=range(step * micro, len(batches)), num_workers=args.num_workers
    )
    stream, started = iter(loader), time.monotonic() - elapsed
    bar = tqdm(
        total=args.max_steps, initial=step, desc="pretrain", disable=not accelerator.is_main_process, mininterval=1.0
    )
    log = None
    if accelerator.is_main_process:
        path = Path(args.output_dir) / "training_log.jsonl"
        if path.exists():  # what was logged after the checkpoint will be logged again
            lines = [line for line in path.read_text().splitlines(keepends=True) if json.loads(line)["step"] <= step]
            path.write_text("".join(lines))
        log = path.open("a")
    names: list[str] = []
    losses: list[torch.Tensor] = []
    logged_at, first = time.monotonic(), step
    model.train()
    out_of_time = False
    while step < args.max_steps and not out_of_time:
        share_of_time = (time.monotonic() - started) / (60 * args.max_minutes) if args.max_minutes else 0.0
        if accelerator.num_processes > 1:  # clocks differ, and all must stop at the same step
            share_of_time = broadcast(torch.tensor(share_of_time, device=accelerator.device)).item()
        position = max(step, int(share_of_time * args.max_steps))
        for group in optimizer.param_groups:
            group["lr"] = args.learning_rate * cosine_with_warmup(position, args.warmup_steps, args.max_steps)
        for index in range(micro):
            batch = next(stream).to(accelerator.device)
            names += batches.environments(step * micro + index)
            with accelerator.accumulate(model):
                output = model(**batch)
                accelerator.backward(output.loss)
                losses.append(output.row_losses.detach())
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), args.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
        step += 1
        bar.update()
        out_of_time = share_of_time >= 1
        if step % args.logging_steps == 0 or step == args.max_steps:
            row_losses = torch.cat(losses)
            seconds, logged_at = time.monotonic() - logged_at, time.monotonic()
            values = {
                "loss": accelerator.reduce(row_losses.nanmean(), "mean").item(),
                "learning_rate": optimizer.param_groups[0]["lr"],
                "steps_per_second": steps_per_update * (step - first) / seconds,
                **{
                    f"loss/{name}": value for name, value in domain_losses(names, row_losses.tolist(), domains).items()
                },
            }
            names, losses, first = [], [], step
            bar.set_postfix(loss=f"{values['loss']:.3f}", steps_per_s=f"{values['steps_per_second']:.0f}")
            accelerator.log(values, step=step)
            if log:
                log.write(json.dumps({"step": step, **values}) + "\n")
                log.flush()
        if args.checkpointing_steps and step % args.checkpointing_steps == 0:
            save_checkpoint(accelerator, args, step, time.monotonic() - started)
    bar.close()

    # --- the model as people load it
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(args.output_dir)
        processor.save_pretrained(args.output_dir)
        summary = {"steps": step, "transitions": step * steps_per_update, "minutes": (time.monotonic() - started) / 60}
        (Path(args.output_dir) / "training.json").write_text(
            json.dumps(summary | {"arguments": asdict(args)}, indent=2)
        )
    accelerator.end_training()


if __name__ == "__main__":
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    try:
        Path(arguments.output_dir).mkdir(parents=True, exist_ok=True)
        main(arguments)
    except LDMError as error:
        sys.exit(f"error: {error}")
