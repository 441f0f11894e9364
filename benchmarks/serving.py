#!/usr/bin/env python
"""A model behind a port: latency and steps per second of many clients, against agents in threads and one batched agent.

    python benchmarks/serving.py --json docs/results/benchmarks/serving.json

``ldm serve`` runs in a process of its own, and so do the clients: bare sockets that send prepared WebSocket frames and
check the answers, as cheap as Python can, since they share the machine with the server. The environment has 39 numbers
and 4 continuous actions (Meta-World); in the rows *mixed*, each client plays another of the model's environments.

*Served* is compared with *one agent a client*, ``LDMAgent`` objects that share the model in as many threads, and with
*one agent*, an ``LDMAgent`` with as many lanes and nothing around it. The share of the latter's steps per second is
``share_of_raw``. Runs of the contenders take turns, and the median run is told, since the machine may be shared.

At the end, 200 clients play at full speed for ``--minutes``; the memory of the server is read all along.
"""

from __future__ import annotations

import array
import base64
import os
import re
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
import psutil
import torch
from common import Row, parser, show

from ldm_hf import LDMAgent
from ldm_hf.agent import load_model
from ldm_hf.serving import protocol
from ldm_hf.spaces import space_from_json

MESSAGES = 16  # different steps that a client sends in turn
WARM_UP = 1.0  # seconds that do not count
HOST = "127.0.0.1"


@dataclass
class Load:
    """What clients found: latencies in seconds, seconds it took, messages that were no action."""

    latencies: np.ndarray
    seconds: float
    errors: int

    @property
    def speed(self) -> float:
        """Steps per second."""
        return len(self.latencies) / self.seconds


def frame(body: bytes) -> bytes:
    """A binary WebSocket frame of a client, masked by zeros."""
    size = len(body)
    head = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    if size >= 1 << 16:
        head = b"\xff" + struct.pack(">Q", size)
    return b"\x82" + head + b"\0\0\0\0" + body


def steps_of(spaces: tuple[dict, dict], seed: int) -> list[bytes]:
    """Frames of random steps in an environment."""
    space = space_from_json(spaces[0])
    space.seed(seed)
    rng = np.random.default_rng(seed)
    feedback = [{"reward": float(rng.normal()), "terminated": False, "truncated": False} for _ in range(MESSAGES)]
    return [frame(protocol.pack({"method": "act", "observation": space.sample(), **told})) for told in feedback]


class Client:
    """A bare socket that speaks WebSocket."""

    def __init__(self, port: int, environment: str, seed: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = ["Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        headers.append(f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}")
        self.socket.sendall("\r\n".join([f"GET /?environment={environment} HTTP/1.1", *headers, "", ""]).encode())
        self.buffer = bytearray()
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        if not self.buffer.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"the server does not let this client in: {bytes(self.buffer)!r:.500}")
        del self.buffer[: self.buffer.index(b"\r\n\r\n") + 4]
        while (told := self.take()) is None:
            self._more()
        about = protocol.unpack(told)
        self.frames = steps_of((about["observation_space"], about["action_space"]), seed)
        self.next = 0
        self.sent = 0.0
        self.socket.setblocking(False)

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError(f"the server said goodbye: {bytes(self.buffer[:300])!r}")
        self.buffer += data

    def take(self) -> bytes | None:
        """The next whole frame, if it is there."""
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4]), 4
        elif size == 127:
            size, start = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < start + size:
            return None
        body = bytes(buffer[start : start + size])
        del buffer[: start + size]
        return body

    def send(self, now: float) -> None:
        """Asks for the next action."""
        self.sent = now
        self.socket.send(self.frames[self.next])
        self.next = (self.next + 1) % MESSAGES


def load(port: int, environments: list[str], seconds: float, rate: float | None) -> Load:
    """Plays with a client in each of these environments: at full speed, or ``rate`` steps a second each."""
    clients = [Client(port, environment, seed) for seed, environment in enumerate(environments)]
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        found, errors = array.array("f"), 0
        started = time.perf_counter()
        begin, end = started + WARM_UP, started + WARM_UP + seconds
        rng = np.random.default_rng(0)
        due = [(started + (rng.random() / rate if rate else 0), client) for client in clients]
        due.sort(key=lambda pair: pair[0])
        while (now := time.perf_counter()) < end:
            while due and due[0][0] <= now:
                due.pop(0)[1].send(time.perf_counter())
            wait = min(due[0][0] if due else end, end) - time.perf_counter()
            for key, _ in selector.select(max(wait, 0)):
                client = key.data
                client._more()
                body = client.take()
                if body is None:
                    continue
                now = time.perf_counter()
                errors += b"action" not in body[:16]
                if now >= begin:
                    found.append(now - client.sent)
                if rate is None:
                    client.send(time.perf_counter())
                else:  # the clients' order of turns stays; one that is late does not catch up
                    due.append((max(client.sent + 1 / rate, now), client))
        for client in clients:
            client.socket.close()
    return Load(np.frombuffer(found, np.float32), seconds, errors)


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
    started = now = time.perf_counter()
    while now - started < seconds:
        before = now
        act(len(found))
        now = time.perf_counter()
        found.append(now - before)
    return Load(np.repeat(found, lanes), now - started, 0)


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
    for player in players:
        player.start()
    for player in players:
        player.join()
    speed = sum(one.speed for one in found)
    latencies = np.concatenate([one.latencies for one in found])
    return Load(latencies, len(latencies) / speed, 0)


def row(contender: str, clients: int, rate: float | None, runs: list[Load], share: float | None = None) -> Row:
    """A row of the table: the run with the median speed."""
    run = sorted(runs, key=lambda run: run.speed)[len(runs) // 2]
    p50, p99 = np.quantile(run.latencies, [0.5, 0.99]) * 1000 if len(run.latencies) else (None, None)
    return {
        "contender": contender,
        "clients": clients,
        "rate": f"{rate:g} Hz" if rate else "full",
        "p50_ms": p50,
        "p99_ms": p99,
        "steps_per_second": run.speed,
        "errors": sum(run.errors for run in runs),
        "share_of_raw": share,
    }


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
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        server(args.model, args.wait, args.threads) as (port, process),
    ):

        def served(environments: list[str], seconds: float, rate: float | None = None) -> Load:
            return pool.submit(load, port, environments, seconds, rate).result()

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
            best = float(np.median([run.speed for run in runs["one agent"]]))
            for name, found in runs.items():
                share = float(np.median([run.speed for run in found])) / best
                rows.append(row(name, clients, None, found, share))
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
