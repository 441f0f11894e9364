"""The training of a round, in processes of its own."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

import torch

from ..errors import CheckpointError, LDMError
from ..training import Pretraining, make_accelerator, pretrain, readable_errors
from ..training.arguments import SHARES
from ..training.checkpoints import former_runs
from ..utils.parallel import only_in_processes, run_tasks
from ..utils.threads import fair_threads

HERE = "127.0.0.1"


def recipe_of(model: str) -> dict[str, Any]:
    """The shares of altered segments that a model was last trained with, as far as it records them: a round's too."""
    runs = former_runs(model)
    arguments = runs[-1]["arguments"] if runs else {}
    shares = {name: arguments.get(name) for name in SHARES}
    return {name: float(share) for name, share in shares.items() if isinstance(share, int | float) and 0 <= share <= 1}


def train_elsewhere(run: Pretraining, jobs: int) -> None:
    """Trains in processes of its own, which end with this one, and whose threads and memory go with them.

    Args:
        run: options of the training; its batch is that of all processes together.
        jobs: most processes; on accelerators, there is one for each at the most.

    Raises:
        CheckpointError: if the training fails.
    """
    devices = torch.accelerator.device_count() or jobs
    count = most_processes(run.batch_size, min(jobs, devices))
    run = replace(run, batch_size=run.batch_size // count)
    with socket.socket() as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    tasks = {f"training process {rank}": (run, rank, count, port) for rank in range(count)}
    with only_in_processes():
        for _, outcome in run_tasks(_train_here, tasks, count, quiet=False):
            if isinstance(outcome, LDMError):
                raise CheckpointError(f"the training into {run.output_dir} failed: {outcome}") from outcome


def most_processes(batch_size: int, most: int) -> int:
    """The largest number of processes that share a batch evenly."""
    return max(count for count in range(1, max(1, most) + 1) if batch_size % count == 0)


def _train_here(run: Pretraining, rank: int, count: int, port: int) -> None:
    """The part of one process, which finds the others as those of torchrun do."""
    if count > 1:
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        told = places | {"MASTER_ADDR": HERE, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in told.items()})
        os.environ.setdefault("OMP_NUM_THREADS", str(fair_threads(count)))  # or accelerate warns that it has set it
    with readable_errors(run):
        pretrain(make_accelerator(run), run)
