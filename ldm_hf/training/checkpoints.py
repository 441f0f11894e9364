"""Checkpoints of training: written whole or not at all, and refused by another run than their own."""

from __future__ import annotations

import errno
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

from accelerate import Accelerator
from safetensors import SafetensorError

from ..errors import CheckpointError, UnwritableError
from ..spaces import Json
from ..utils.files import read_json, write_atomically, writing
from .arguments import TrainingRun

SUMMARY = "training.json"  # written at the end of a run
WRITING_FAILED = ("PytorchStreamWriter", "inline_container")  # in the messages of torch.save
# Options that must not change when a run is continued; all others may.
FIXED_OPTIONS = (
    "preset",
    "layer_windows",
    "scaled_task",
    "model",
    "backbone",
    "method",
    "lora_rank",
    "episodes",
    "seed",
    "segment",
    "ema_decay",
    "layer_decay",
    "test_episodes",
    "return_temperature",
)


class RunSummary(TypedDict, total=False):
    """What ``training.json`` holds about a run that has ended.

    Attributes:
        steps: number of updates.
        transitions: number of steps in all segments that were drawn.
        minutes: duration of the run.
        held_out_loss: lowest loss on held-out data, with early stopping.
        best_step: update after which it was reached.
        arguments: options of the run.
        former_runs: summaries of the runs that made the model it started from, oldest first.
    """

    steps: int
    transitions: int
    minutes: float
    held_out_loss: float
    best_step: int
    arguments: dict[str, Json]
    former_runs: list[RunSummary]


@dataclass
class Progress:
    """The progress of a run.

    Args:
        step: number of updates done.
        segments: number of segments that all processes have drawn.
        elapsed: seconds of training.
        environments: number of steps in each environment's stream.
        weights: share of each environment in the segments; empty in checkpoints of former versions.
        arguments: options of the run.
        best: lowest held-out loss and the step at which it was reached.
    """

    step: int = 0
    segments: int = 0
    elapsed: float = 0.0
    environments: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    arguments: dict[str, Json] = field(default_factory=dict)
    best: tuple[float, int] | None = None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in an output folder, oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in an output folder; None if there is none."""
    return next(reversed(checkpoints(folder)), None)


def find_checkpoint(args: TrainingRun) -> Path | None:
    """The checkpoint to resume from; None to start from the beginning.

    Raises:
        CheckpointError: if there is none at the path given, or if a new run would mix its checkpoints with those of a
            former one.
    """
    newest = newest_checkpoint(Path(args.output_dir))
    if args.resume_from_checkpoint == "latest":
        return newest
    if args.resume_from_checkpoint is not None:
        path = Path(args.resume_from_checkpoint)
        if not (path / "progress.json").exists():
            raise CheckpointError(f"{path} is no checkpoint of a training run (it has no progress.json).")
        return path
    if newest is not None and args.checkpointing_steps and not args.dry_run:
        raise CheckpointError(
            f"{args.output_dir} holds checkpoints of a former run, up to {newest.name}: continue it with "
            "--resume_from_checkpoint latest, or remove them, or choose another --output_dir."
        )
    return None


def is_complete(args: TrainingRun) -> bool:
    """Whether the run to be continued has ended, by its updates, its minutes or early stopping, and saved its model."""
    summary = Path(args.output_dir) / SUMMARY
    if args.resume_from_checkpoint != "latest" or not summary.exists():
        return False
    ended = _read_summary(summary)["arguments"]
    try:
        return bool(ended["max_steps"] >= args.max_steps and ended["max_minutes"] == args.max_minutes)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{summary} is damaged ({error!r}); remove it to continue the run.") from error


def former_runs(model: str | None) -> list[RunSummary]:
    """Summaries of the runs that made the model that a run starts from, oldest first; empty if none is recorded.

    Args:
        model: folder of the model, if any.
    """
    if model is None or not (Path(model) / SUMMARY).exists():
        return []
    summary = _read_summary(Path(model) / SUMMARY)
    return [*summary.pop("former_runs", []), summary]


def _read_summary(path: Path) -> RunSummary:
    """The summary of a run.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        summary: RunSummary = read_json(path)
        former = summary.get("former_runs", [])
        if not all(isinstance(run["arguments"], dict) for run in (*former, summary)):
            raise ValueError("its arguments are no options")
        return summary
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}); remove it, and nothing is told of that run.") from error


def read_progress(
    checkpoint: Path, args: TrainingRun, environments: Mapping[str, int], weights: Mapping[str, float] | None = None
) -> Progress:
    """Reads the progress of the run that wrote a checkpoint.

    Args:
        checkpoint: folder of the checkpoint.
        args: options of the run that continues it.
        environments: number of steps in each environment's stream.
        weights: share of each environment in the segments.

    Raises:
        CheckpointError: if it is damaged, or belongs to another run than these options and environments; names the
            differences.
    """
    try:
        progress = Progress(**read_json(checkpoint / "progress.json"))
        _check(progress)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(_damaged(checkpoint, error)) from error
    now = asdict(args)
    differences = [
        f"--{name} was {progress.arguments[name]}, is {now[name]}"
        for name in FIXED_OPTIONS
        if name in now and name in progress.arguments and now[name] != progress.arguments[name]
    ]
    for name in sorted(progress.environments.keys() | environments.keys()):
        was, found = progress.environments.get(name), environments.get(name)
        if was != found:
            differences.append(f"{name} had {was or 'no'} steps, has {found or 'none'}")
        elif (
            progress.weights and weights and not math.isclose(share := progress.weights.get(name, 0.0), weights[name])
        ):
            differences.append(f"{name} was {share:.2%} of the segments, is {weights[name]:.2%}")
    if differences:
        shown = "; ".join(differences[:5]) + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
        raise CheckpointError(
            f"{checkpoint} belongs to another run: {shown:.1000}. "
            "Give the values that it was begun with, or start a new run in another --output_dir."
        )
    return progress


def _check(progress: Progress) -> None:
    """Raises a `ValueError` unless all fields are of their kinds."""
    counts = (progress.step, progress.segments, *progress.environments.values())
    numbers = (progress.elapsed, *progress.weights.values(), *(progress.best or ()))
    if (
        not all(type(count) is int and count >= 0 for count in counts)
        or not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        or not isinstance(progress.arguments, dict)
        or (progress.best is not None and len(progress.best) != 2)
    ):
        raise ValueError("progress.json has impossible values")


def load_state(accelerator: Accelerator, checkpoint: Path) -> None:
    """Loads weights and the optimiser's state.

    Raises:
        CheckpointError: if a file is missing, damaged or of another model.
    """
    try:
        accelerator.load_state(str(checkpoint))
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(_damaged(checkpoint, error)) from error
    # It counts micro-batches, whose number changes with that of processes and accumulation steps.
    accelerator.step = 0


def _damaged(checkpoint: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    return f"{checkpoint} is damaged or of another model ({reason}); remove it, and the one before it is used."


def save_checkpoint(accelerator: Accelerator, args: TrainingRun, progress: Progress) -> None:
    """Writes a checkpoint under a temporary name first, so that one with its final name is complete.

    Raises:
        CheckpointError: if it cannot be written; says which is the newest one.
    """
    folder = Path(args.output_dir) / f"checkpoint-{progress.step}"
    unfinished = folder.with_name(f"unfinished-{progress.step}")
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)  # a run that was killed may have left it
    accelerator.wait_for_everyone()
    try:
        with writing(folder):
            _save_state(accelerator, unfinished)
            accelerator.wait_for_everyone()  # every process writes a file
            if accelerator.is_main_process:
                write_atomically(unfinished / "progress.json", json.dumps(asdict(progress), indent=2))
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
                for old in checkpoints(folder.parent)[: -args.keep_checkpoints]:
                    shutil.rmtree(old)
    except UnwritableError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        kept = newest_checkpoint(folder.parent)
        raise CheckpointError(
            f"{error} {f'Up to {kept} nothing is lost' if kept else 'There is no checkpoint yet'}: then continue with "
            "--resume_from_checkpoint latest."
        ) from error
    accelerator.wait_for_everyone()


def _save_state(accelerator: Accelerator, folder: Path) -> None:
    """Saves weights and the optimiser's state; a full disk is an OSError, whichever library writes."""
    try:
        accelerator.save_state(str(folder))
    except RuntimeError as error:  # torch names its own source file where it cannot write
        if any(sign in str(error) for sign in WRITING_FAILED):
            raise OSError(
                errno.ENOSPC, f"no space left, or no right to write: {str(error).splitlines()[0]}"
            ) from error
        raise
