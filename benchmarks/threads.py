#!/usr/bin/env python
"""A training step and a roll-out step on CPUs that others use, too: how OpenMP threads wait for each other, and how
many there are.

    python benchmarks/threads.py --json docs/results/benchmarks/threads.json

The model is ldm-nano; it trains on trajectories that are collected first (five of the quickstart's environments, 16
segments a batch, encoded anew for each step) and acts: in one environment as `ldm play` does, and in as many at once
as `ldm evaluate`. Each setting has a process of its own, since OpenMP reads the environment once, when torch is
imported. The processes take turns, beside 0, 1, 2, 4 processes that do nothing but count. ``ldm_hf`` chooses the
number of threads as work begins, so it chooses anew at the beginning of every turn here.

*Times the fair share*: a scheduler that treats all threads alike gives a process with a thread on each of ``C``
cores, beside ``L`` busy threads, ``C / (C + L)`` of the machine. A step should therefore take ``(C + L) / C`` times
the time it took on the quiet machine with the default setting. What it takes, divided by this, is the column: 1 is
fair, 2 is twice as slow as it had to be. The same yardstick holds for settings with fewer threads. A turn on the
quiet machine during which something else used it, too, is repeated.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from common import ACTION, OBSERVATION, model_of, parser, show

from ldm_hf import LDMAgent, LDMConfig
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec
from ldm_hf.training import SegmentDataset, parameter_groups, processor_for
from ldm_hf.trajectories import WindowSampler, open_dataset
from ldm_hf.utils.threads import SPINS, WAITING, fair_threads

IDS = (
    "CartPole-v1",
    "Taxi-v4-short",
    "BabyAI-GoToRedBallNoDists-v0",
    "BabyAI-GoToRedBallNoDists-pixels",
    "metaworld-reach-v3",
)
ROWS = 16  # segments of a batch, as in the quickstart
BATCHES = 4  # the same for all settings
DEFAULT, OURS = "OpenMP's default", "ldm_hf's default"
SETTINGS = {
    DEFAULT: {},
    OURS: {"GOMP_SPINCOUNT": str(SPINS)},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
VARIABLES = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", *WAITING}
DISTURBED = 0.15  # cores that something else used
TRIES = 6  # of a turn on a quiet machine
BUSY = "while True: pass"


def training(folder: str) -> Callable[[], Any]:
    """A step of the optimiser, the encoding of its batch included."""
    trajectories = open_dataset(folder)
    config = LDMConfig.preset("ldm-nano")
    model = model_of(config, "cpu").train()
    lengths = {name: stream.num_steps for name, stream in trajectories.items()}
    sampler = WindowSampler(lengths, 4 * config.window, ROWS, 0)
    batches = SegmentDataset(trajectories, processor_for(config, trajectories), sampler, BATCHES)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=1e-3, fused=True)
    numbers = itertools.cycle(range(BATCHES))

    def step() -> None:
        model(**batches[next(numbers)]).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def acting(lanes: int, folder: str) -> Callable[[], Any]:
    """A step of the agent in so many environments at once, theirs not included."""
    model = model_of(LDMConfig.preset("ldm-nano"), "cpu")
    agent = LDMAgent(model, processor_for(model.config, open_dataset(folder)), (OBSERVATION, ACTION), num_envs=lanes)
    observations, ends = np.random.default_rng(0).normal(size=(lanes, *OBSERVATION.shape)), np.zeros(lanes, bool)
    agent.act(observations)
    return lambda: agent.act(observations, np.zeros(lanes), ends, ends)


def work(folder: str, lanes: list[int]) -> None:
    """The process of one setting: is told what to do for how long and whether to choose the number of threads, answers
    with a `Turn`."""
    kinds = {"training": training(folder)} | {_acting(number): acting(number, folder) for number in lanes}
    for function in kinds.values():
        function()
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(_runtimes()), file=answers, flush=True)
    for line in sys.stdin:
        kind, budget, choose = json.loads(line)
        if choose:
            torch.set_num_threads(fair_threads())
        function, steps = kinds[kind], 0
        function()
        wall, cpu = time.perf_counter(), time.process_time()
        while not steps or time.perf_counter() - wall < budget:
            function()
            steps += 1
        seconds = (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps
        print(json.dumps([*seconds, steps, torch.get_num_threads()]), file=answers, flush=True)


def _acting(lanes: int) -> str:
    return f"acting in {lanes}"


def _runtimes() -> list[str]:
    """The OpenMP libraries that this process has loaded, where the system tells."""
    maps = Path("/proc/self/maps")
    paths = {line.split()[-1] for line in maps.read_text().splitlines() if ".so" in line} if maps.exists() else set()
    return sorted({Path(path).name for path in paths if Path(path).name.startswith(("libgomp", "libiomp", "libomp"))})


class Turn(NamedTuple):
    """What a process measured: seconds of a step, CPU seconds of a step, both means over ``steps``, and the number of
    threads."""

    wall: float
    cpu: float
    steps: int
    threads: int


class Contender:
    """The process of one setting."""

    def __init__(self, name: str, folder: str, lanes: list[int]) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | SETTINGS[name]
        command = [sys.executable, __file__, "--worker", folder, "--lanes", *map(str, lanes)]
        pipe = subprocess.PIPE
        self.choose = name == OURS
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        self.runtimes = self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a process of the benchmark has died; its message stands above")
        return json.loads(line)

    def measure(self, kind: str, budget: float) -> Turn:
        """A turn of about so many seconds."""
        self.process.stdin.write(json.dumps([kind, budget, self.choose]) + "\n")
        self.process.stdin.flush()
        return Turn(*self._answer())

    def measure_quietly(self, kind: str, budget: float) -> tuple[Turn, float]:
        """The least disturbed turn of several, and the cores that something else used meanwhile."""
        best: tuple[Turn, float] | None = None
        for _ in range(TRIES):
            before = psutil.cpu_times()
            turn = self.measure(kind, budget)
            used = others(before, psutil.cpu_times(), turn.cpu * (turn.steps + 1))
            if best is None or used < best[1]:
                best = turn, used
            if used < DISTURBED:
                break
        return best

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()


@contextmanager
def busy(number: int) -> Iterator[None]:
    """As many processes that do nothing but count."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    if processes:
        time.sleep(0.5)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def others(before: Any, after: Any, own: float) -> float:
    """Cores that something else used between two readings of the machine's CPU times, ``own`` seconds being this
    benchmark's."""
    past = {
        name: getattr(after, name) - getattr(before, name) for name in after._fields if not name.startswith("guest")
    }
    idle = past["idle"] + past.get("iowait", 0.0)
    whole = sum(past.values())  # of all cores
    return (whole - idle - own) / whole * (os.cpu_count() or 1)


def median(turns: list[Turn]) -> Turn:
    """Column by column."""
    return Turn(*(float(value) for value in np.median(turns, axis=0)))


def main() -> None:
    made = parser(__doc__)
    made.set_defaults(threads=os.cpu_count())
    made.add_argument("--lanes", type=int, nargs="+", default=[1, 10], help="environments at once")
    made.add_argument(
        "--loads", type=int, nargs="+", default=[0, 1, 2, 4], help="busy processes beside it; 0 goes first"
    )
    made.add_argument("--rounds", type=int, default=5, help="turns of each setting")
    made.add_argument("--seconds", type=float, default=1.0, help="of a turn; at least one step")
    made.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="besides the default")
    made.add_argument("--steps", type=int, default=3000, help="to collect of each environment")
    made.add_argument("--ids", nargs="+", default=list(IDS), help="environments to collect")
    made.add_argument("--dataset", help="trajectories to train on instead")
    made.add_argument("--worker", metavar="DATASET", help="used by this script alone: be the process of one setting")
    args = made.parse_args()
    if args.worker:
        work(args.worker, args.lanes)
        return
    cores, settings = os.cpu_count() or 1, list(dict.fromkeys([DEFAULT, *args.settings]))
    kinds = ["training", *map(_acting, args.lanes)]
    loads = sorted({0, *args.loads})
    turns: dict[tuple[str, int, str], list[Turn]] = {}
    disturbance: list[float] = []
    with ExitStack() as stack:
        folder = args.dataset or stack.enter_context(tempfile.TemporaryDirectory())
        if not args.dataset:
            for error in collect(
                [get_spec(name) for name in args.ids], Plan(folder, steps=args.steps), progress=False
            ).values():
                raise error
        contenders = {name: Contender(name, folder, args.lanes) for name in settings}
        for contender in contenders.values():
            stack.callback(contender.end)
        for _ in range(args.rounds):
            for load in loads:
                with busy(load):
                    for kind, (name, contender) in itertools.product(kinds, contenders.items()):
                        if load:
                            turn = contender.measure(kind, args.seconds)
                        else:
                            turn, used = contender.measure_quietly(kind, args.seconds)
                            disturbance.append(used)
                        turns.setdefault((kind, load, name), []).append(turn)
    rows = []
    for kind in kinds:
        quiet = median(turns[kind, 0, DEFAULT]).wall
        for load, name in itertools.product(loads, settings):
            turn = median(turns[kind, load, name])
            rows.append(
                {
                    "work": kind,
                    "busy": load,
                    "setting": name,
                    "threads": turn.threads,
                    "ms": 1e3 * turn.wall,
                    "CPU ms": 1e3 * turn.cpu,
                    "times default": turn.wall / median(turns[kind, load, DEFAULT]).wall,
                    "times fair share": turn.wall / (quiet * (cores + load) / cores),
                }
            )
    notes = [
        f"Medians of {args.rounds} turns, each the mean of the steps in {args.seconds:g} s.",
        f"OpenMP: {', '.join(contenders[DEFAULT].runtimes) or 'unknown'}. {OURS}: {SETTINGS[OURS]}, threads by load.",
        f"Cores that something else used on the quiet machine: median {np.median(disturbance):.2f}, "
        f"at most {max(disturbance):.2f}.",
    ]
    show("A step of ldm-nano on a quiet and on a busy machine", rows, args, notes)


if __name__ == "__main__":
    main()
