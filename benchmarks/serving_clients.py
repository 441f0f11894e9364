#!/usr/bin/env python
"""Clients of ``ldm serve``, as cheap as Python can: bare sockets and prepared WebSocket frames.

    python benchmarks/serving_clients.py --port 8000 --server PID --environments CartPole-v1 --output found.npz

`serving.py` starts it as a process of its own.
"""

from __future__ import annotations

import argparse
import array
import base64
import os
import selectors
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from ldm_hf.serving import protocol
from ldm_hf.spaces import space_from_json

HOST = "127.0.0.1"
MESSAGES = 16  # different steps that a client sends in turn
WARM_UP = 1.0  # seconds that do not count


@dataclass
class Load:
    """What clients found.

    Args:
        latencies: seconds from each question to its answer.
        seconds: how long they played.
        errors: messages that were no action.
        cpu_seconds: CPU time of the process that acted meanwhile, the server or the agents.
        client_cpu_seconds: that of the clients, if they are in another process.
    """

    latencies: np.ndarray
    seconds: float
    errors: int
    cpu_seconds: float
    client_cpu_seconds: float | None = None

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


def load(port: int, server: psutil.Process, environments: list[str], seconds: float, rate: float | None) -> Load:
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
        before, counting = spent(server), False
        while (now := time.perf_counter()) < end:
            if not counting and now >= begin:
                before, counting = spent(server), True
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
        servers, ours = np.subtract(spent(server), before)
        for client in clients:
            client.socket.close()
    return Load(np.frombuffer(found, np.float32), seconds, errors, servers, ours)


def spent(server: psutil.Process) -> tuple[float, float]:
    """CPU seconds that the server and this process have taken so far."""
    times = server.cpu_times()
    return times.user + times.system, time.process_time()


def main() -> None:
    """Plays, and writes what was found."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--port", type=int, required=True, help="port of the server")
    made.add_argument("--server", type=int, required=True, help="id of its process")
    made.add_argument("--environments", nargs="+", required=True, help="environment of each client")
    made.add_argument("--seconds", type=float, default=4, help="seconds that count")
    made.add_argument("--rate", type=float, help="steps a second of each client; full speed without")
    made.add_argument("--output", type=Path, required=True, help="file of NumPy for what was found")
    args = made.parse_args()
    found = load(args.port, psutil.Process(args.server), args.environments, args.seconds, args.rate)
    np.savez(args.output, **vars(found))


if __name__ == "__main__":
    main()
