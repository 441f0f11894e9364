"""Runs the environments of an isolated library under that library's own interpreter; started by `process.py`.

Needs the standard library, NumPy and Gymnasium. From ldm_hf it imports single light modules, never the package, whose
requirements are not installed there.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import signal
import sys
import types
from collections.abc import Callable
from functools import partial
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gymnasium

    from ...references.base import Reference
    from ...spaces import Info, Observation
    from ..building import BuildArguments, Kwargs, Registration
    from .exchange import Json, Slots

    Reply = dict[str, Json]

GRACE_SECONDS = 10  # after the time limit: by then the parent has given up, or has ended
ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("ldm_hf", "ldm_hf.environments", "ldm_hf.environments.isolation", "ldm_hf.references")


def light(module: str) -> types.ModuleType:
    """Imports one module of ldm_hf without running the ``__init__`` of its packages."""
    for name in PACKAGES:
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [str(ROOT.joinpath(*name.split(".")))]
            sys.modules[name] = package
    return importlib.import_module(f"ldm_hf.{module}")


class Worker:
    """Environments in lock step; every public method answers a call of the parent with JSON.

    Args:
        shared: descriptor of the file in shared memory.
    """

    def __init__(self, shared: int) -> None:
        self._shared = shared
        self._exchange = light("environments.isolation.exchange")
        self.envs: list[gymnasium.Env] = []
        self._latest: dict[int, tuple[Observation, Info]] = {}  # by lane
        self._reference: Reference | None = None

    def make(self, registrations: list[Registration], arguments: BuildArguments, lanes: int) -> Reply:
        """Makes the environments; returns their spaces."""
        building, spaces = light("environments.building"), light("spaces")
        for registration in registrations:
            building.import_library(registration)
        self._build: Callable[[], gymnasium.Env] = lambda: building.build(**arguments)
        for _ in range(lanes):
            self.envs.append(self._build())
        env = self.envs[0]
        json_spaces = [spaces.space_to_json(space) for space in (env.observation_space, env.action_space)]
        self._slots: Slots = self._exchange.Slots(self._shared, env.observation_space, env.action_space, lanes)
        return {
            "spaces": json_spaces,
            "metadata": self._exchange.portable_info(env.metadata),
            "versions": {"python": platform.python_version()}
            | {package: metadata.version(package) for package in ("gymnasium", "numpy")},
        }

    def reset(self, lanes: list[int], seeds: list[int | None], options: Json) -> Reply:
        """Begins episodes in some lanes."""
        options = self._exchange.from_json(options)
        return {"infos": [self._begin(lane, seed, options) for lane, seed in zip(lanes, seeds, strict=True)]}

    def step(self, autoreset: bool) -> Reply:
        """Steps all lanes; with ``autoreset``, the step that ends an episode also begins the next one."""
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

    def render(self, lane: int) -> Reply:
        """A picture or text of one lane."""
        return {"frame": self._exchange.to_json(self.envs[lane].render())}

    def begin_reference(self, path: str, kwargs: Kwargs) -> Reply:
        """Resets the reference policy ``module:Class`` of the first lane for a new episode; the first call makes it."""
        if self._reference is None:
            base = light("references.base")  # its package is a stub without the names of its ``__init__``
            vars(sys.modules["ldm_hf.references"])["Reference"] = base.Reference
            module, _, name = path.partition(":")
            make = partial(getattr(importlib.import_module(module), name), **kwargs)
            try:
                env = self._build()  # what a constructor does to it must not disturb the episode
            except Exception:  # stable-retro has one emulator a process
                self._reference = make(self.envs[0])
            else:
                try:
                    self._reference = make(env)
                finally:
                    env.close()
        assert self._reference is not None
        self._reference.reset(self.envs[0])
        return {}

    def label(self) -> Reply:
        """Writes the action of the reference policy in the first lane."""
        assert self._reference is not None
        action = self._reference.act(self.envs[0], *self._latest[0])
        self._slots.write("label", action, 0, member=True)
        return {}

    def executed(self) -> Reply:
        """Passes on to the reference policy which action was executed instead of its own."""
        assert self._reference is not None
        self._reference.executed(self._slots.read("action", 0))
        return {}

    def close(self) -> Reply:
        """Closes the environments."""
        while self.envs:
            self.envs.pop().close()
        return {}

    def _begin(self, lane: int, seed: int | None, options: Info | None) -> Json:
        observation, info = self._latest[lane] = self.envs[lane].reset(seed=seed, options=options)
        self._slots.write("observation", observation, lane, member=True)
        return self._exchange.portable_info(info)


def serve(connection: Connection, worker: Worker) -> None:
    """Answers calls until the parent closes the connection or has ended."""
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        # If the environment hangs and the parent has ended, the system ends this process; no Python has to run for it.
        signal.alarm(int(request["limit"]) + GRACE_SECONDS)
        try:
            reply = getattr(worker, request["call"])(**request["arguments"])
        except BaseException as error:  # SystemExit, too
            reply = {"error": f"{type(error).__name__}: {error}"}
        signal.alarm(0)
        try:
            connection.send_bytes(json.dumps(reply).encode())
        except OSError:
            return


def main() -> None:
    """``python worker.py SOCKET MEMORY``: two file descriptors that the parent passes on."""
    sys.path.pop(0)  # this folder: its modules are no top-level modules
    socket, shared = (int(argument) for argument in sys.argv[1:])
    # Otherwise a process that the library starts would keep the connection open after this one has died.
    os.set_inheritable(socket, False)
    os.set_inheritable(shared, False)
    try:
        serve(Connection(socket), Worker(shared))
    finally:
        os.killpg(0, signal.SIGKILL)  # all processes that the library has started, too


if __name__ == "__main__":
    main()
