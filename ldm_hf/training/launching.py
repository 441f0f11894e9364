"""The processes of a run: one per device, which end together, and one run per output folder."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, parse_flag_from_env, set_seed
from filelock import FileLock, Timeout
from transformers import HfArgumentParser

from ..errors import LDMError
from ..utils.display import print_anywhere
from ..utils.files import writing
from ..utils.threads import fair_threads, own_threads
from .arguments import TrainingRun
from .checkpoints import newest_checkpoint
from .optimisation import best_mixed_precision

logger = logging.getLogger(__name__)

Run = TypeVar("Run", bound=TrainingRun)

LOCK_SECONDS = 20.0  # the processes of a run that was killed need a few seconds to notice
POLL_SECONDS = 0.5
OUT_OF_MEMORY = ("DefaultCPUAllocator", "out of memory", "can't allocate memory", "Unable to allocate")
LOST_CONNECTION = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "NCCL error",
    "gloo/transport",
)


def make_accelerator(args: TrainingRun) -> Accelerator:
    """Makes the accelerator of this process; sets threads and seed."""
    _end_with_launcher()
    # accelerate starts a process group on CPUs only if asked to
    cpu = not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    state = PartialState(cpu=cpu)
    if state.num_processes == 1 and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ:
        logger.warning(
            "`accelerate launch` starts one process on CPUs; use `torchrun --nproc_per_node N` for N of them."
        )
    if cpu and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise LDMError("accelerate shards models (FSDP) on GPUs only; on CPUs, start the script by torchrun alone.")
    precision = best_mixed_precision(state.device) if args.mixed_precision == "auto" else args.mixed_precision
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=None if args.report_to == "none" else args.report_to,
        project_dir=args.output_dir,
        # a batch without pixel observations leaves the pixel stem without gradient
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if args.report_to != "none" and not accelerator.log_with:
        raise LDMError(
            f"--report_to {args.report_to}: this tracker is not installed. "
            f"Install it with: pip install {args.report_to}"
        )
    set_seed(args.seed)
    if accelerator.device.type == "cpu":
        torch.set_num_threads(args.cpu_threads or own_threads() or fair_threads(accelerator.num_processes))
    return accelerator


def _end_with_launcher() -> None:
    """Ends this process when its launcher ends.

    Processes of a launcher that was killed would otherwise go on writing beside those of the next start.
    """
    # started by hand, perhaps in a shell that is closed
    if "LOCAL_RANK" not in os.environ and "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Holds the lock of an output folder, which is released when the process ends, however it ends.

    Raises:
        LDMError: if another run holds it, or the folder cannot be written.
    """
    lock = folder / ".run.lock"
    with writing(lock):
        lock.touch()
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise LDMError(f"another run is writing to {folder}; wait for its end, or choose another folder.") from None


@contextmanager
def readable_errors(args: TrainingRun) -> Iterator[None]:
    """Turns failures of the machine into an `LDMError` that says how to continue the run."""

    def end(*_: object) -> None:
        raise LDMError(f"the run was told to end (SIGTERM). {_how_to_continue(args)}")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
            raise LDMError(_out_of_memory(args, text)) from error
        if any(sign in text for sign in LOST_CONNECTION):
            raise LDMError(
                f"another process of this run died (its message, if there is one, is above). {_how_to_continue(args)}"
            ) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def run_script(kind: type[Run], main: Callable[[Run], None]) -> None:
    """Runs a training script: parses its options, and ends with a one-line message if there is an `LDMError`.

    Args:
        kind: dataclass of the options.
        main: function that trains; takes the parsed options.
    """
    print_anywhere()
    (arguments,) = HfArgumentParser(kind).parse_args_into_dataclasses()  # type: ignore[arg-type]
    try:
        with readable_errors(arguments):
            main(arguments)
    except LDMError as error:
        sys.exit(f"error: {error}")


def _out_of_memory(args: TrainingRun, text: str) -> str:
    half = max(1, args.batch_size // 2)
    cures = [
        f"--batch_size {half} "
        f"--gradient_accumulation_steps {args.gradient_accumulation_steps * args.batch_size // half} (the same losses)",
        "--gradient_checkpointing",
        "--mixed_precision bf16",
        "a shorter --segment",
        "several GPUs with examples/accelerate/fsdp2.yaml",
    ]
    if args.gradient_checkpointing:
        cures.remove("--gradient_checkpointing")
    if args.batch_size == 1:
        del cures[0]
    return (
        f"out of memory with {args.batch_size} segments a batch ({text.splitlines()[0] if text else 'MemoryError'}). "
        f"What helps, in this order: {'; '.join(cures)}. {_how_to_continue(args)}"
    )


def _how_to_continue(args: TrainingRun) -> str:
    checkpoint = newest_checkpoint(Path(args.output_dir))
    if checkpoint is None:
        return "There is no checkpoint yet."
    return f"Nothing up to {checkpoint} is lost: add --resume_from_checkpoint latest to continue from there."
