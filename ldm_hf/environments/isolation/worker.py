"""Runs the environments of an isolated library under that library's own interpreter; started by `process.py`.

Needs the standard library, NumPy and Gymnasium. Of ldm_hf it imports single light modules, never the package, whose requirements are not there.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import signal
import sys
import types
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

GRACE_SECONDS = 10  # after the time limit: the parent has given up by then, or is gone
ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("ldm_hf", "ldm_hf.environments", "ldm_hf.environments.isolation", "ldm_hf.references")


def light(module: str) -> Any:
    """Imports one module of ldm_hf without what the ``__init__`` of its packages would import."""
    for name in PACKAGES:
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [str(ROOT.joinpath(*name.split(".")))]
            sys.modules[name] = package
    return importlib.import_module(f"ldm_hf.{module}")


class Lanes:
    """Environments in lock step; every method answers a call of the parent with JSON, and bytes where there are any."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._exchange = light("environments.isolation.exchange")
        self.envs: list[Any] = []
        self._latest: dict[int, tuple[Any, dict[str, Any]]] = {}  # observation and info by lane
        self._reference: Any = None

    def make(self, entries: list[dict[str, str]], row: dict[str, Any], lanes: int) -> dict[str, Any]:
        """Makes the environments and tells their spaces."""
        building, spaces = light("environments.building"), light("spaces")
        for entry in entries:
            building.import_library(entry)
        self._build = lambda: building.build(**row)
        for _ in range(lanes):
            self.envs.append(self._build())
        env = self.envs[0]
        described = [spaces.space_to_json(space) for space in (env.observation_space, env.action_space)]
        self._slots = self._exchange.Slots(self._memory, env.observation_space, env.action_space, lanes)
        return {
            "spaces": described,
            "metadata": self._exchange.portable_info(env.metadata),
            "versions": {"python": platform.python_version()}
            | {package: metadata.version(package) for package in ("gymnasium", "numpy")},
        }

    def reset(self, lanes: list[int], seeds: list[int | None], options: Any) -> dict[str, Any]:
        """Begins episodes in some lanes."""
        options = self._exchange.from_json(options)
        return {"infos": [self._begin(lane, seed, options) for lane, seed in zip(lanes, seeds, strict=True)]}

    def step(self, autoreset: bool) -> dict[str, Any]:
        """Steps all lanes; with ``autoreset``, the next episode of a lane begins in the step that ends the last one."""
        slots, portable_info = self._slots, self._exchange.portable_info
        infos, finals = [], {}
        for lane, env in enumerate(self.envs):
            observation, reward, terminated, truncated, info = env.step(slots.read("action", lane))
            self._latest[lane] = observation, info
            slots.reward[lane], slots.terminated[lane], slots.truncated[lane] = reward, terminated, truncated
            if autoreset and (terminated or truncated):
                slots.write("final", observation, lane, member=True)
                finals[lane] = portable_info(info)
                infos.append(self._begin(lane, None, None))
            else:
                slots.write("observation", observation, lane, member=True)
                infos.append(portable_info(info))
        return {"infos": infos, "finals": finals}

    def render(self, lane: int) -> dict[str, Any]:
        """A picture or text of one lane."""
        return {"frame": self._exchange.to_json(self.envs[lane].render())}

    def begin_reference(self, path: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        """An episode has begun for the reference policy ``module:Class`` of the first lane, which is made at the first time."""
        if self._reference is None:
            sys.modules["ldm_hf.references"].Reference = light("references.base").Reference  # type: ignore[attr-defined]
            module, _, name = path.partition(":")
            env = self._build()  # what a constructor does to it must not disturb the episode
            try:
                self._reference = getattr(importlib.import_module(module), name)(env, **kwargs)
            finally:
                env.close()
        self._reference.reset(self.envs[0])
        return {}

    def label(self) -> dict[str, Any]:
        """What the reference policy would do in the first lane."""
        action = self._reference.act(self.envs[0], *self._latest[0])
        self._slots.write("label", action, 0, member=True)
        return {}

    def executed(self) -> dict[str, Any]:
        """Another action than its own is executed."""
        self._reference.executed(self._slots.read("action", 0))
        return {}

    def close(self) -> dict[str, Any]:
        """Closes the environments."""
        while self.envs:
            self.envs.pop().close()
        return {}

    def _begin(self, lane: int, seed: int | None, options: Any) -> dict[str, Any]:
        observation, info = self._latest[lane] = self.envs[lane].reset(seed=seed, options=options)
        self._slots.write("observation", observation, lane, member=True)
        return self._exchange.portable_info(info)


def serve(connection: Connection, lanes: Lanes) -> None:
    """Answers calls until the parent closes the connection or is gone."""
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        # Should the environment hang while the parent is gone, the system ends this process; no Python has to run for that.
        signal.alarm(int(request["limit"]) + GRACE_SECONDS)
        try:
            reply = getattr(lanes, request["call"])(**request["arguments"])
        except (Exception, SystemExit) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        signal.alarm(0)
        try:
            connection.send_bytes(json.dumps(reply).encode())
        except OSError:
            return


def main() -> None:
    """``python worker.py SOCKET MEMORY``: two file descriptors that the parent hands on."""
    sys.path.pop(0)  # this folder: its modules are no top-level modules
    socket, memory = (int(argument) for argument in sys.argv[1:])
    os.set_inheritable(
        socket, False
    )  # or a process that the library starts would hold the line after this one has died
    os.set_inheritable(memory, False)
    try:
        serve(Connection(socket), Lanes(memory))
    finally:
        os.killpg(0, signal.SIGKILL)  # with all that the library has started


if __name__ == "__main__":
    main()
