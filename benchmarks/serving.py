#!/usr/bin/env python
"""A model behind a port: latency and steps per second of many clients, against agents in threads and one batched agent.

    python benchmarks/serving.py --json docs/results/benchmarks/serving.json

``ldm serve`` runs in a process of its own, and so do the clients: bare sockets that send prepared WebSocket frames and
check the answers, as cheap as Python can, since they share the machine with the server. The environment has 39 numbers
and 4 continuous actions (Meta-World); in the rows *mixed*, each client plays another of the model's environments.

*Served* is compared with *one agent a client*, ``LDMAgent`` objects that share the model in as many threads, and with
*one agent*, an ``LDMAgent`` with as many lanes and nothing around it. The share of the latter's steps per second is
``share_of_raw``. Runs of the contenders take turns, and the median run is told, since the machine may be shared.

Clients cost CPU time, too, which is another machine's where a server is in earnest: ``share_of_raw_by_cpu`` compares
what a step costs the agent's process with what it costs the server's (``cpu_ms_per_step``), with all that it reads and
writes but without its clients (``client_cpu_ms_per_step``).

At the end, 200 clients play at full speed for ``--minutes``; the memory of the server is read all along.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from common import Row, parser, show
from serving_clients import MESSAGES, Load

from ldm_hf import LDMAgent
from ldm_hf.agent import load_model


@contextmanager
def server(model: str, wait: float, threads: int) -> Iterator[tuple[int, psutil.Process]]:
    """``ldm serve`` in a process of its own; its port and the process."""
    command = [sys.executable, "-c", "from ldm_hf.cli import main; main()", "serve", "--model", model, "--port", "0"]
    command += ["--wait", str(wait), "--threads", str(threads)]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
        try:
            while not (told := re.search(r"ws://[\d.]+:(\d+)", _text(log))):
                if process.poll() is not None:
                    raise SystemExit(_text(log))
                time.sleep(0.1)
            yield int(told[1]), psutil.Process(process.pid)
            if lost := [line for line in _text(log).splitlines() if line.startswith(("WARNING", "ERROR"))]:
                print(f"the server's log has {len(lost)} lines, such as: {lost[0]}")
        finally:
            process.terminate()
            process.wait(30)


def play(port: int, server: int, environments: list[str], seconds: float, rate: float | None = None) -> Load:
    """Clients in a process of their own, one in each of these environments."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.npz"
        command = [sys.executable, str(Path(__file__).with_name("serving_clients.py")), "--output", str(file)]
        command += ["--port", str(port), "--server", str(server), "--seconds", str(seconds)]
        command += ["--environments", *environments]
        subprocess.run([*command, *([] if rate is None else ["--rate", str(rate)])], check=True)
        with np.load(file) as found:
            numbers = {name: found[name].item() for name in found if name != "latencies"}
            return Load(found["latencies"], **numbers)


def _text(log: object) -> str:
    log.seek(0)
    return log.read()


def raw(parts: tuple, name: str, lanes: int, seconds: float) -> Load:
    """One agent with as many lanes."""
    layout = parts[1].layout(name)
    space = layout.observation_space
    agent = LDMAgent(*parts, (space, layout.action_space), environment=name, num_envs=lanes)
    steps = [np.stack([space.sample() for _ in range(lanes)]) for _ in range(MESSAGES)]
    no, reward = np.zeros(lanes, bool), np.zeros(lanes)
    return _timed(lambda number: agent.act(steps[number % MESSAGES], reward, no, no), seconds, lanes)


def _timed(act: Callable[[int], object], seconds: float, lanes: int = 1) -> Load:
    found: list[float] = []
    for number in range(3):
        act(number)
    started, spent = time.perf_counter(), time.process_time()
    now = started
    while now - started < seconds:
        before = now
        act(len(found))
        now = time.perf_counter()
        found.append(now - before)
    return Load(np.repeat(found, lanes), now - started, 0, time.process_time() - spent)


def threads(parts: tuple, name: str, clients: int, seconds: float) -> Load:
    """An agent of its own for each client, in a thread of its own."""
    layout = parts[1].layout(name)
    space = layout.observation_space
    steps = [space.sample() for _ in range(MESSAGES)]
    found: list[Load] = []

    def play() -> None:
        agent = LDMAgent(*parts, (space, layout.action_space), environment=name)
        found.append(_timed(lambda number: agent.act(steps[number % MESSAGES], 0.0, False, False), seconds))

    players = [threading.Thread(target=play) for _ in range(clients)]
    spent = time.process_time()
    for player in players:
        player.start()
    for player in players:
        player.join()
    speed = sum(one.speed for one in found)
    latencies = np.concatenate([one.latencies for one in found])
    return Load(latencies, len(latencies) / speed, 0, time.process_time() - spent)


def cost(runs: list[Load]) -> float:
    """CPU seconds of a step of the process that acts."""
    return sum(run.cpu_seconds for run in runs) / max(1, sum(len(run.latencies) for run in runs))


def row(contender: str, clients: int, rate: float | None, runs: list[Load], best: list[Load] | None = None) -> Row:
    """A row of the table: the run with the median speed, beside those of one agent with as many lanes."""
    run = sorted(runs, key=lambda run: run.speed)[len(runs) // 2]
    theirs = sum(run.client_cpu_seconds or 0 for run in runs) / max(1, sum(len(run.latencies) for run in runs))
    p50, p99 = np.quantile(run.latencies, [0.5, 0.99]) * 1000 if len(run.latencies) else (None, None)
    return {
        "contender": contender,
        "clients": clients,
        "rate": f"{rate:g} Hz" if rate else "full",
        "p50_ms": p50,
        "p99_ms": p99,
        "steps_per_second": run.speed,
        "errors": sum(run.errors for run in runs),
        "share_of_raw": median_speed(runs) / median_speed(best) if best else None,
        "cpu_ms_per_step": 1000 * cost(runs),
        "client_cpu_ms_per_step": 1000 * theirs if run.client_cpu_seconds is not None else None,
        "share_of_raw_by_cpu": cost(best) / cost(runs) if best and cost(runs) else None,
    }


def median_speed(runs: list[Load]) -> float:
    """Steps per second of the median run."""
    return float(np.median([run.speed for run in runs]))


def main() -> None:
    """Runs all."""
    made = parser(__doc__)
    made.add_argument("--model", default="model_cards/ldm-nano", help="folder of the model")
    made.add_argument(
        "--environment", default="metaworld-button-press-wall-v3", help="environment that the model knows"
    )
    made.add_argument("--clients", type=int, nargs="+", default=[1, 20, 64, 200], help="numbers of clients")
    made.add_argument("--seconds", type=float, default=4, help="seconds of a run")
    made.add_argument("--rounds", type=int, default=3, help="runs of each contender at full speed")
    made.add_argument("--minutes", type=float, default=10, help="minutes of the last run; 0 leaves it out")
    made.add_argument("--wait", type=float, default=2, help="milliseconds that a step waits for others at most")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    parts = load_model(args.model)
    names = list(parts[1].environments)
    rows, notes = [], []
    with server(args.model, args.wait, args.threads) as (port, process):
        served = partial(play, port, process.pid)
        for clients in args.clients:
            same, mixed = [args.environment] * clients, [names[i % len(names)] for i in range(clients)]
            contenders = {
                "served": partial(served, same, args.seconds),
                "served, mixed": partial(served, mixed, args.seconds),
                "one agent a client": partial(threads, parts, args.environment, clients, args.seconds),
                "one agent": partial(raw, parts, args.environment, clients, args.seconds),
            }
            runs: dict[str, list[Load]] = {name: [] for name in contenders}
            for _ in range(args.rounds):
                for name, run in contenders.items():
                    runs[name].append(run())
            rows += [row(name, clients, None, found, runs["one agent"]) for name, found in runs.items()]
            rows.append(row("served", clients, 20, [served(same, args.seconds, 20)]))
        if args.minutes:
            clients = [args.environment] * max(args.clients)
            rows.append(endurance(served, process, clients, args.minutes * 60, notes))
    load_average = os.getloadavg()[1] if hasattr(os, "getloadavg") else 0
    notes.append(f"load of the machine in the last five minutes: {load_average:.1f} (this benchmark alone makes two)")
    show("A model behind a port, ldm-nano", rows, args, notes)


def endurance(
    served: Callable[..., Load], process: psutil.Process, clients: list[str], seconds: float, notes: list[str]
) -> Row:
    """Many clients for a long time; notes the memory of the server."""
    sizes: list[tuple[float, float]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1):
            sizes.append((time.monotonic(), process.memory_info().rss / 2**20))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run = served(clients, seconds)
    finally:
        stop.set()
        watcher.join()
    times, used = np.array(sizes).T
    later = times >= times[0] + min(60, seconds / 4)
    slope = np.polyfit(times[later], used[later], 1)[0] * 600 if later.sum() > 1 else float("nan")
    notes.append(
        f"{len(clients)} clients for {seconds / 60:g} minutes: {len(run.latencies):,} steps, {run.errors} errors; "
        f"the server had {used[later][0]:.0f} MiB after the beginning and {used[-1]:.0f} at the end, "
        f"{slope:+.1f} MiB in ten minutes by a line through all"
    )
    return row(f"served, {seconds / 60:g} minutes", len(clients), None, [run])


if __name__ == "__main__":
    main()
