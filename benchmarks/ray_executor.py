#!/usr/bin/env python
"""What a Ray cluster costs and gives: the overhead of a task, and the share of ideal speed with two nodes of one core.

    python benchmarks/ray_executor.py --json docs/results/benchmarks/ray.json

The cluster is on this machine, its two nodes have a CPU each; it is compared with one process of `parallel.run_tasks`.
*Overhead* is the time from one end of a task that does nothing to the next in a single process, with and without a
folder of the task's own, which goes there and comes back changed. *Work* is the number of tasks a second, each a loop
of fixed length in Python, while all processes work; ideal is twice that of one process. Starting is told apart.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ldm_hf.errors import LDMError
from ldm_hf.utils.parallel import Executor, run_tasks
from ldm_hf.utils.ray import on_ray

FILE = "data"


def nothing(name: str) -> None:
    """A task that does nothing."""


def rewrite(name: str, folder: str) -> None:
    """A task that writes the file in its own folder anew."""
    path = Path(folder, name, FILE)
    path.write_bytes(path.read_bytes())


def count(loops: int) -> tuple[int, float, float]:
    """Counts; returns the process, and when it began and ended."""
    began = time.time()
    for _ in range(loops):
        pass
    return os.getpid(), began, time.time()


def loops_of(seconds: float) -> int:
    """How far this machine counts in a time."""
    trial = 2_000_000
    _, began, ended = min((count(trial) for _ in range(5)), key=lambda turn: turn[2] - turn[1])
    return int(trial * seconds / (ended - began))


def results(
    run: Executor, function: Callable[..., Any], tasks: dict[str, Any], jobs: int, **options: Any
) -> list[Any]:
    """Results of all tasks, each with the time when it was there; an error ends the benchmark."""
    found = []
    for _, outcome in run(function, tasks, jobs, **options):
        if isinstance(outcome, LDMError):
            raise outcome
        found.append((time.time(), outcome))
    return found


def overhead(run: Executor, function: Callable[..., Any], tasks: int, **options: Any) -> tuple[float, float]:
    """Seconds until the first task has ended, and median seconds between the ends of two."""
    began, names = time.time(), [f"task-{number}" for number in range(tasks)]
    times = [at for at, _ in results(run, function, {name: (name,) for name in names}, 1, **options)]
    return times[0] - began, float(np.median(np.diff(times)))


def speed(turns: list[tuple[int, float, float]]) -> float:
    """Tasks in a second while all processes work; one that is cut by the beginning or the end of this time counts in
    part."""
    processes = {process for process, _, _ in turns}
    first = max(min(began for process, began, _ in turns if process == one) for one in processes)
    last = min(max(ended for process, _, ended in turns if process == one) for one in processes)
    inside = [max(0.0, min(ended, last) - max(began, first)) / (ended - began) for _, began, ended in turns]
    return sum(inside) / (last - first)


def main() -> None:
    from common import parser, show  # the processes of the tasks need not import what it imports

    made = parser(__doc__)
    made.add_argument("--tasks", type=int, default=200, help="tasks that do nothing")
    made.add_argument("--bytes", type=int, default=2**20, help="size of a task's own folder")
    made.add_argument("--long", type=int, default=40, help="tasks that count")
    made.add_argument("--seconds", type=float, default=2.0, help="length of a task that counts")
    args = made.parse_args()
    import ray
    import ray_executor as here  # the processes of the cluster import it, too
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    rows, loops = [], loops_of(args.seconds)
    long = {f"task-{number}": (loops,) for number in range(args.long)}
    local = partial(run_tasks, limit=3600.0)  # with a limit, one job is a process of its own, too
    try:
        speeds = {}
        for name, run, jobs in (("one process", local, 1), ("Ray, two nodes", on_ray(cluster.address), 2)):
            started, empty = overhead(run, here.nothing, args.tasks)
            with tempfile.TemporaryDirectory() as folder:
                for number in range(args.tasks):
                    (place := Path(folder) / f"task-{number}").mkdir()
                    (place / FILE).write_bytes(os.urandom(args.bytes))
                _, carried = overhead(run, here.rewrite, args.tasks, own={"folder": folder})
            turns = [turn for _, turn in results(run, here.count, long, jobs)]
            assert len({process for process, _, _ in turns}) == jobs, (
                "not all processes had a task; let them be longer"
            )
            speeds[name] = speed(turns)
            rows.append(
                {
                    "tasks run in": name,
                    "s until the first has ended": started,
                    "ms a task": 1e3 * empty,
                    "ms with a folder of its own": 1e3 * carried,
                    "tasks of work a second": speeds[name],
                    "share of ideal": speeds[name] / (jobs * speeds["one process"]),
                }
            )
    finally:
        ray.shutdown()
        cluster.shutdown()
    notes = [
        f"{args.tasks} tasks that do nothing, medians; folders of {args.bytes:,} bytes; {args.long} tasks that count "
        f"to {loops:,} each.",
        f"Ray {ray.__version__}. Its processes leave the cores to others first (niceness 15, unless told otherwise).",
    ]
    show("Tasks on a Ray cluster of two nodes with one CPU each", rows, args, notes)


if __name__ == "__main__":
    main()
