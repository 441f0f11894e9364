"""Checkpoints: whole or not there, and refused where they do not belong."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from ..errors import CheckpointError
from ..utils.files import write_atomically
from .arguments import TrainingRun

SUMMARY = "training.json"  # of a run that has ended
# Other values are another run; all other options may change when a run is continued.
OF_THE_RUN = ("preset", "model", "backbone", "method", "lora_rank", "episodes", "seed", "segment")


@dataclass
class Progress:
    """How far a run is.

    Args:
        step: updates done.
        segments: drawn so far by all processes.
        elapsed: seconds.
        environments: steps of each stream.
        weights: how often each is drawn, as shares; empty in checkpoints of former versions.
        arguments: of the run.
        best: held-out loss and the step that it was reached at.
    """

    step: int = 0
    segments: int = 0
    elapsed: float = 0.0
    environments: dict[str, int] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    best: tuple[float, int] | None = None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in an output folder, oldest first."""
    return sorted(folder.glob("checkpoint-*[0-9]"), key=lambda path: int(path.name.split("-")[1]))


def newest_checkpoint(folder: Path) -> Path | None:
    """None if there is none."""
    return next(reversed(checkpoints(folder)), None)


def find_checkpoint(args: TrainingRun) -> Path | None:
    """The checkpoint to resume from; None to start anew.

    Raises:
        CheckpointError: if there is none at the path given, or if a new run would mix its checkpoints with those of a former one.
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
            f"{args.output_dir} holds checkpoints of a former run, up to {newest.name}: continue it with --resume_from_checkpoint "
            "latest, or remove them, or choose another --output_dir."
        )
    return None


def is_complete(args: TrainingRun) -> bool:
    """Whether the run to be continued has ended, by its updates, its minutes or early stopping, and saved its model."""
    summary = Path(args.output_dir) / SUMMARY
    if args.resume_from_checkpoint != "latest" or not summary.exists():
        return False
    ended = json.loads(summary.read_text(encoding="utf-8"))["arguments"]
    return ended["max_steps"] >= args.max_steps and ended["max_minutes"] == args.max_minutes


def former_runs(model: str | None) -> list[dict[str, Any]]:
    """Summaries of the runs that made the model that a run starts from, oldest first; empty where none is recorded.

    Args:
        model: folder, if any.
    """
    if model is None or not (Path(model) / SUMMARY).exists():
        return []
    summary = json.loads((Path(model) / SUMMARY).read_text(encoding="utf-8"))
    return [*summary.pop("former_runs", []), summary]


def read_progress(
    checkpoint: Path, args: TrainingRun, environments: Mapping[str, int], weights: Mapping[str, float] | None = None
) -> Progress:
    """How far the run of a checkpoint was.

    Raises:
        CheckpointError: if it is damaged, or belongs to another run than these arguments and environments; names the differences.
    """
    try:
        progress = Progress(**json.loads((checkpoint / "progress.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(_damaged(checkpoint, error)) from error
    now = asdict(args)
    differences = [
        f"--{name} was {progress.arguments[name]}, is {now[name]}"
        for name in OF_THE_RUN
        if name in now and name in progress.arguments and now[name] != progress.arguments[name]
    ]
    for name in sorted(progress.environments.keys() | environments.keys()):
        was, found = progress.environments.get(name), environments.get(name)
        if was != found:
            differences.append(f"{name} had {was or 'no'} steps, has {found or 'none'}")
        elif progress.weights and weights and not math.isclose(progress.weights[name], weights[name]):
            differences.append(f"{name} was {progress.weights[name]:.2%} of the segments, is {weights[name]:.2%}")
    if differences:
        shown = "; ".join(differences[:5]) + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
        raise CheckpointError(
            f"{checkpoint} belongs to another run: {shown}. Give what it was begun with, or start anew in another --output_dir."
        )
    return progress


def load_state(accelerator: Accelerator, checkpoint: Path) -> None:
    """Weights and optimiser.

    Raises:
        CheckpointError: if a file is missing, damaged or of another model.
    """
    try:
        accelerator.load_state(str(checkpoint))
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(_damaged(checkpoint, error)) from error
    # It counts micro-batches, which another number of processes or of accumulation steps counts differently.
    accelerator.step = 0


def _damaged(checkpoint: Path, error: Exception) -> str:
    return f"{checkpoint} is damaged or of another model ({str(error).splitlines()[0]}); remove it, and the one before it is used."


def save_checkpoint(accelerator: Accelerator, args: TrainingRun, progress: Progress) -> None:
    """Writes a checkpoint under a temporary name first, so that one that bears its final name is whole."""
    folder = Path(args.output_dir) / f"checkpoint-{progress.step}"
    unfinished = folder.with_name(f"unfinished-{progress.step}")
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    accelerator.wait_for_everyone()
    accelerator.save_state(str(unfinished))
    accelerator.wait_for_everyone()  # every process writes a file of its own
    if accelerator.is_main_process:
        write_atomically(unfinished / "progress.json", json.dumps(asdict(progress), indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        for old in checkpoints(folder.parent)[: -args.keep_checkpoints]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
