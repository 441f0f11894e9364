"""The training loop that all training scripts share."""

from __future__ import annotations

import copy
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import broadcast
from rich.console import Console
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import BatchFeature

from ..errors import CheckpointError, short
from ..modeling_ldm import LDMForActionPrediction, LDMOutput
from ..processing_ldm import LDMProcessor
from ..trajectories import WindowSampler
from ..trajectories.remote import fetch_ahead
from ..utils.files import write_atomically, writing
from .arguments import TrainingRun
from .averaging import MovingAverage
from .batches import SegmentDataset, Source
from .checkpoints import (
    SUMMARY,
    Progress,
    RunSummary,
    find_checkpoint,
    former_runs,
    is_complete,
    load_state,
    read_progress,
    save_checkpoint,
)
from .dry_run import plan_table
from .early_stopping import EarlyStopping
from .launching import sole_writer
from .meter import Meter, flops_per_token, peak_flops
from .optimisation import compile_for_training, cosine_with_warmup, parameter_groups, sharded_precision

logger = logging.getLogger(__name__)

BETAS = (0.9, 0.98)
GPU_WORKERS = 4  # data loader processes per GPU
STEMS = ("numeric", "raw_numeric", "action_numeric", "grid", "pixels")  # stems that a batch may not use


def train(
    accelerator: Accelerator,
    model: LDMForActionPrediction,
    processor: LDMProcessor,
    trajectories: Mapping[str, Source],
    args: TrainingRun,
    weights: Mapping[str, float] | None = None,
    early_stopping: EarlyStopping | None = None,
    finish: Callable[[LDMForActionPrediction], None] = lambda model: None,
) -> None:
    """Trains and saves a model; continues a run that was interrupted.

    Args:
        accelerator: accelerator of this process, from `make_accelerator`.
        model: model to train; parameters that need no gradient stay as they are.
        processor: processor that knows the environments.
        trajectories: trajectories by environment, and endless worlds by the name of their row.
        args: options of the run.
        weights: sampling weights by environment, equal by default.
        early_stopping: measures held-out loss and ends the run when it no longer improves.
        finish: function to call with the trained model before it is saved.

    Raises:
        ArgumentError: if a share of segments or labels is not from 0 to 1.
        CheckpointError: if the checkpoint to resume from is damaged or belongs to another run.
        LDMError: if another run is writing to the output folder.
    """
    args.check()
    if is_complete(args):
        logger.warning("%s is complete; a larger --max_steps would continue it.", args.output_dir)
        return
    alone = sole_writer(Path(args.output_dir)) if accelerator.is_main_process and not args.dry_run else nullcontext()
    with alone:
        # from here on no other run writes checkpoints, so that all processes find the same newest one
        accelerator.wait_for_everyone()
        run = _Run(accelerator, model, processor, trajectories, args, weights, early_stopping)
        if args.dry_run:
            run.show_plan()
        else:
            run.train()
            run.save(finish)
        run.end()


class _Run:
    """A run: its data, model, optimiser, progress and log. Arguments are those of `train`."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: LDMForActionPrediction,
        processor: LDMProcessor,
        trajectories: Mapping[str, Source],
        args: TrainingRun,
        weights: Mapping[str, float] | None,
        early_stopping: EarlyStopping | None,
    ) -> None:
        self.accelerator, self.args, self.processor, self.early_stopping = accelerator, args, processor, early_stopping
        self.folder = Path(args.output_dir)
        lengths = {name: stream.num_steps for name, stream in trajectories.items()}
        total_weight = sum((weights or {}).values())
        shares = {name: weight / total_weight for name, weight in (weights or {}).items()}
        self.former_runs = former_runs(getattr(args, "model", None))
        checkpoint = find_checkpoint(args)
        self.progress = Progress() if checkpoint is None else read_progress(checkpoint, args, lengths, shares)
        self.progress.environments, self.progress.arguments = lengths, asdict(args)
        self.progress.weights = shares
        self.micro = args.gradient_accumulation_steps
        self.segments = args.batch_size * self.micro * accelerator.num_processes  # of an update
        sampler = WindowSampler(
            lengths,
            args.segment or model.config.default_segment,
            args.batch_size,
            args.seed,
            accelerator.process_index,
            accelerator.num_processes,
            weights,
            first=self.progress.segments - self.progress.step * self.segments,
        )
        total = max(args.max_steps, 2) * self.micro  # a dry run takes two
        self.batches = SegmentDataset(
            trajectories,
            processor,
            sampler,
            total,
            args.unknown_statistics,
            no_action=args.hide_previous_actions,
            disguised=args.disguised_share,
            repeated_labels=args.repeated_labels,
            beginnings=args.episode_beginnings,
        )
        self.stream = self._load(range(self.progress.step * self.micro, total))
        domains = {name: stream.info.domain for name, stream in trajectories.items()}
        peak = peak_flops(accelerator.device, half=accelerator.mixed_precision == "bf16")
        self.meter = Meter(accelerator, domains, flops_per_token(model), peak)
        self.bare = self.whole = model
        self.average = MovingAverage(accelerator, model, args.ema_decay) if args.ema_decay else None
        self._prepare(model)
        if checkpoint is not None:
            load_state(accelerator, checkpoint)
        self.model.train()

    def _load(self, numbers: range) -> Iterator[BatchFeature]:
        """Starts the processes that prepare the batches ``numbers``, and the download of their trajectories."""
        args, batches, on_gpu = self.args, self.batches, self.accelerator.device.type == "cuda"
        workers = GPU_WORKERS if args.num_workers is None and on_gpu else args.num_workers
        loader = DataLoader(batches, batch_size=None, sampler=numbers, num_workers=workers or 0, pin_memory=on_gpu)
        stream = iter(loader)
        order = batches.sampler.order(numbers.start)
        # after the workers have started: threads do not survive in a forked process
        fetch_ahead((batches.trajectories[name] for name in order), self.accelerator.is_local_main_process)
        return stream

    def _prepare(self, model: LDMForActionPrediction) -> None:
        """Makes the optimiser, and distributes it and the model over the processes."""
        accelerator, args = self.accelerator, self.args
        if args.gradient_checkpointing:
            model.activation_checkpointing_enable()
        if args.compile:
            compile_for_training(model, accelerator.device)
        if accelerator.distributed_type == DistributedType.FSDP:
            accelerator.state.fsdp_plugin.mixed_precision_policy = sharded_precision(accelerator.mixed_precision)
            self.whole = copy.deepcopy(model)
            # without memory until it gets the weights of all processes in the end
            torch.nn.Module.to(self.whole, "meta")
            model.register_forward_hook(_touch_stems)
        groups = parameter_groups(model, args.weight_decay, args.layer_decay)
        self.rates = [group["rate"] for group in groups]
        optimizer = torch.optim.AdamW(
            [dict(group) for group in groups], lr=args.learning_rate, betas=BETAS, fused=True
        )
        self.model, self.optimizer = accelerator.prepare(model, optimizer)

    def update(self, rate: float) -> None:
        """Takes one step of the optimiser at ``rate`` times the learning rate."""
        accelerator, args = self.accelerator, self.args
        for group, share in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = args.learning_rate * rate * share
        for number in range(self.progress.step * self.micro, (self.progress.step + 1) * self.micro):
            started = time.perf_counter()
            batch = next(self.stream)
            waited = time.perf_counter() - started
            batch = batch.to(accelerator.device, non_blocking=True)  # Python goes on while the GPU computes
            with accelerator.accumulate(self.model):
                output = self.model(**batch)
                accelerator.backward(output.loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.model.parameters(), args.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            tokens = batch["feedback"].shape[0] * batch["feedback"].shape[1]
            names = self.batches.environments(number)
            self.meter.add(names, output.row_losses, tokens, self.batches.transitions(names), waited)
        if self.average is not None:
            self.average.update()
        self.meter.updates += 1
        self.progress.step += 1
        self.progress.segments += self.segments

    def show_plan(self) -> None:
        """Takes two updates and prints what the run would need."""
        self.update(0.0)  # the first one is slow
        self.meter.line()
        self.update(0.0)
        table = plan_table(self.accelerator, self.bare, self.batches, self.args, self.meter.line())
        if self.accelerator.is_main_process:
            Console().print(table)

    def train(self) -> None:
        """Takes all updates that are left."""
        accelerator, args, progress = self.accelerator, self.args, self.progress
        if accelerator.log_with:
            accelerator.init_trackers("ldm_hf", config={name: str(value) for name, value in asdict(args).items()})
        started = time.monotonic() - progress.elapsed
        many = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
        ended, main = False, accelerator.is_main_process
        if main:
            (self.folder / SUMMARY).unlink(missing_ok=True)
        with (
            _log_file(self.folder / "training_log.jsonl", progress.step) if main else nullcontext() as log,
            tqdm(
                desc=Path(sys.argv[0]).stem + many,
                total=args.max_steps,
                initial=progress.step,
                disable=not main,
                mininterval=1.0,
            ) as bar,
        ):
            while progress.step < args.max_steps and not ended:
                share = self._share_of_time(started)
                position = max(progress.step, int(share * args.max_steps))
                rate = cosine_with_warmup(position, args.warmup_steps, args.max_steps)
                self.update(rate)
                bar.update()
                judged = self.model if self.average is None else self.average.module
                stop = self.early_stopping is not None and self.early_stopping(accelerator, judged, progress)
                ended = share >= 1 or stop
                save = bool(args.checkpointing_steps) and progress.step % args.checkpointing_steps == 0
                # also before every checkpoint, so that the next line of a resumed run covers the same updates
                if progress.step % args.logging_steps == 0 or save or ended or progress.step == args.max_steps:
                    self._write_line(log, bar, args.learning_rate * rate)
                progress.elapsed = time.monotonic() - started
                if save:
                    save_checkpoint(accelerator, args, progress)

    def _share_of_time(self, started: float) -> float:
        """Share of the time limit that has passed; 0 without a limit."""
        if not self.args.max_minutes:
            return 0.0
        share = (time.monotonic() - started) / (60 * self.args.max_minutes)
        if self.accelerator.num_processes > 1:  # clocks differ, and all must stop at the same step
            share = float(broadcast(torch.tensor(share, device=self.accelerator.device)).item())
        return share

    def _write_line(self, log: TextIO | None, bar: tqdm, learning_rate: float) -> None:
        line = {"learning_rate": learning_rate, **self.meter.line()}
        if self.early_stopping is not None and self.early_stopping.loss is not None:
            line["held_out_loss"], self.early_stopping.loss = self.early_stopping.loss, None
        speed, waiting = line["transitions_per_second"], line["waiting"]
        bar.set_postfix(loss=f"{line['loss']:.3f}", transitions_per_s=f"{speed:,.0f}", waiting=f"{waiting:.1%}")
        self.accelerator.log(line, step=self.progress.step)
        if log is not None:
            log.write(json.dumps({"step": self.progress.step, **line}) + "\n")
            log.flush()

    def save(self, finish: Callable[[LDMForActionPrediction], None]) -> None:
        """Saves the model, its processor and a summary of the run."""
        accelerator, progress = self.accelerator, self.progress
        accelerator.wait_for_everyone()
        sharded = accelerator.distributed_type == DistributedType.FSDP
        weights = accelerator.get_state_dict(self.model) if sharded else {}
        if accelerator.is_main_process:
            if sharded:
                self.whole.load_state_dict(weights, assign=True)
            if self.average is not None:
                self.whole.load_state_dict(self.average.module.state_dict())
            if self.early_stopping is not None:
                self.early_stopping.restore(self.whole)
            finish(self.whole)
            with writing(self.folder / "model.safetensors"):
                self.whole.save_pretrained(self.folder)
                self.processor.save_pretrained(self.folder)
            transitions = progress.segments * self.batches.sampler.segment
            summary: RunSummary = {
                "steps": progress.step,
                "transitions": transitions,
                "minutes": progress.elapsed / 60,
            }
            if progress.best is not None:
                summary["held_out_loss"], summary["best_step"] = progress.best
            summary["arguments"] = asdict(self.args)
            if self.former_runs:
                summary["former_runs"] = self.former_runs
            write_atomically(self.folder / SUMMARY, json.dumps(summary, indent=2))

    def end(self) -> None:
        """Ends together with the other processes."""
        self.accelerator.wait_for_everyone()
        # If the wrapped model were the last owner of the process group, its destructor could deadlock: it holds the GIL
        # and waits for a thread that may need it.
        del self.model, self.optimizer
        self.accelerator.free_memory()
        self.accelerator.end_training()


def _log_file(path: Path, step: int) -> TextIO:
    """Opens the log; removes the lines after ``step``, which will be written again."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        # only the last line can be incomplete, if the process ended while writing it
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged ({short(line)}); remove it to continue the run.") from error
    write_atomically(path, "".join(kept))
    return path.open("a", encoding="utf-8")


def _touch_stems(model: LDMForActionPrediction, inputs: object, output: LDMOutput) -> LDMOutput:
    """Gives every stem a gradient, if only zero; sharded data parallelism needs all gradients of a group or none."""
    if output.loss is not None:
        parameters = [p for name in STEMS for p in getattr(model.model, name).parameters()]
        output.loss = output.loss + 0.0 * sum(p.sum() for p in parameters)
    return output
