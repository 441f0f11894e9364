"""Isolated environments as Gymnasium environments: one, and a vector of them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ...errors import EnvironmentFailure
from ...spaces import Action, Info, Observation
from ..building import BuildArguments, Kwargs, Registration
from .exchange import Json, Slots, from_json, to_json
from .process import WorkerProcess

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
TIME_LIMIT = 120.0
RESTARTS = 2


@dataclass(frozen=True)
class Recipe:
    """How to make an isolated environment.

    Args:
        name: name of the environment, for messages.
        python: interpreter that has the library.
        arguments: arguments of `building.build`.
        registrations: what to pass to `building.import_library` first.
        time_limit: seconds that a call may take.
    """

    name: str
    python: Path
    arguments: BuildArguments
    registrations: Sequence[Registration] = ()
    time_limit: float = TIME_LIMIT


class _Restarting:
    """A worker process that `reset` replaces after a failure, at most twice."""

    def __init__(self, recipe: Recipe, lanes: int) -> None:
        self.recipe, self.lanes, self.restarts = recipe, lanes, 0
        self.process = self._start()

    def _start(self) -> WorkerProcess:
        recipe = self.recipe
        return WorkerProcess(
            recipe.name, recipe.python, list(recipe.registrations), recipe.arguments, self.lanes, recipe.time_limit
        )

    @property
    def slots(self) -> Slots:
        return self.process.slots

    @property
    def can_restart(self) -> bool:
        return self.process.ended and self.restarts < RESTARTS

    def reset(self, lanes: list[int], seeds: list[int | None], options: Info | None) -> list[Info]:
        if self.process.ended:
            if self.restarts == RESTARTS:
                raise EnvironmentFailure(
                    self.recipe.name, "reset", f"it has failed {RESTARTS + 1} times; make a new environment"
                )
            self.restarts += 1
            self.process = self._start()
        reply = self.process.call("reset", lanes=lanes, seeds=seeds, options=to_json(options))
        return _infos(reply["infos"])

    def step(self, autoreset: bool) -> tuple[list[Info], dict[int, Info]]:
        """Steps all lanes; returns their infos, and by lane the last infos of the episodes that ended."""
        reply = self.process.call("step", autoreset=autoreset)
        return _infos(reply["infos"]), {int(lane): from_json(info) for lane, info in reply["finals"].items()}


def _infos(data: list[Json]) -> list[Info]:
    return [from_json(info) for info in data]


class IsolatedEnv(gymnasium.Env):
    """An environment that runs in a worker process under another interpreter.

    It behaves as in this process: the same spaces, seeds, observations and rewards. Infos keep the entries that are
    plain values, arrays or tuples. `unwrapped` is this object, not the library's: code that needs the library's object
    cannot reach it, but a reference policy may run in the worker.

    After a failure, the process is restarted, at most twice. If the episode was reset with a seed, it is replayed and
    the failed call is repeated; otherwise the failure is raised and the next `reset` restarts the process.

    Args:
        recipe: how to make the environment.

    Attributes:
        versions: versions of Python and the packages in the worker.

    Raises:
        EnvironmentFailure: by any call, if the environment raises an error, dies, takes longer than the time limit or
            returns an observation outside its space.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._worker = _Restarting(recipe, 1)
        process = self._worker.process
        self.observation_space, self.action_space = process.observation_space, process.action_space
        self.metadata, self.render_mode = process.metadata, recipe.arguments.get("render_mode")
        self.versions = process.versions
        self._calls: list[Callable[[], object]] | None = None  # of this episode; None if no seed makes them repeatable
        self._seen = 0  # checksum of the last observation

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        self._calls = None if seed is None else []
        (info,) = self._persistently(lambda: self._worker.reset([0], [seed], options))
        return self._worker.slots.read("observation", 0), info

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        action = copy.deepcopy(action)  # it may have to be executed again

        def step() -> Info:
            self._worker.slots.write("action", action, 0)
            return self._worker.step(autoreset=False)[0][0]

        info = self._persistently(step)
        slots = self._worker.slots
        flags = bool(slots.terminated[0]), bool(slots.truncated[0])
        return slots.read("observation", 0), float(slots.reward[0]), *flags, info

    def render(self) -> Json:
        return from_json(self._worker.process.call("render", lane=0)["frame"])

    def close(self) -> None:
        self._calls = None
        self._worker.process.close()

    def begin_reference(self, path: str, kwargs: Kwargs) -> None:
        """Resets the reference policy ``module:Class`` in the worker for a new episode; the first call makes it."""
        self._persistently(lambda: self._worker.process.call("begin_reference", path=path, kwargs=kwargs))

    def label(self) -> Action:
        """The action of the reference policy in the worker."""
        self._persistently(lambda: self._worker.process.call("label"))
        return self._worker.slots.read("label", 0)

    def executed(self, action: Action) -> None:
        """Passes on to the reference policy in the worker which action was executed instead of its own."""
        action = copy.deepcopy(action)

        def executed() -> None:
            self._worker.slots.write("action", action, 0)
            self._worker.process.call("executed")

        self._persistently(executed)

    def _persistently(self, call: Callable[[], Result]) -> Result:
        """Makes a call; if it fails, repeats it in a new process."""
        while True:
            try:
                result = call()
            except EnvironmentFailure as failure:
                if self._calls is None or not self._worker.can_restart:
                    raise
                logger.warning("%s; restarting it", failure)
                self._repeat()
                continue
            if self._calls is not None:
                self._calls.append(call)
                self._seen = self._worker.slots.checksum("observation")
            return result

    def _repeat(self) -> None:
        """Replays the episode so far in a new process."""
        calls, self._calls = self._calls or [], []
        seen = self._seen
        for call in calls:
            self._persistently(call)
        if calls and self._seen != seen:
            name = self._worker.recipe.name
            raise EnvironmentFailure(name, "step", "it failed, and the same seed and actions did not lead there again")


class IsolatedVectorEnv(VectorEnv):
    """Isolated environments in lock step with SAME_STEP autoreset, all in one worker process; see `IsolatedEnv`.

    Args:
        recipe: how to make one environment.
        num_envs: number of environments.
    """

    def __init__(self, recipe: Recipe, num_envs: int) -> None:
        self._worker = _Restarting(recipe, num_envs)
        process = self._worker.process
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = process.observation_space, process.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = process.metadata | {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = recipe.arguments.get("render_mode")

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Info | None = None
    ) -> tuple[Observation, Info]:
        options = dict(options or {})
        lanes = np.flatnonzero(options.pop("reset_mask", np.ones(self.num_envs, bool))).tolist()
        if seed is None or isinstance(seed, int):
            seed = [None if seed is None else seed + lane for lane in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{self._worker.recipe.name}: {len(seed)} seeds for {self.num_envs} environments")
        found = self._worker.reset(lanes, [seed[lane] for lane in lanes], options or None)
        infos: Info = {}
        for lane, info in zip(lanes, found, strict=True):
            infos = self._add_info(infos, info, lane)
        return self._worker.slots.read("observation"), infos

    def step(self, actions: Action) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, Info]:
        slots = self._worker.slots
        slots.write("action", actions)
        found, finals = self._worker.step(autoreset=True)
        infos: Info = {}
        for lane, info in enumerate(found):
            if lane in finals:
                final = {"final_obs": slots.read("final", lane), "final_info": finals[lane]}
                infos = self._add_info(infos, final, lane)
            infos = self._add_info(infos, info, lane)
        return (
            slots.read("observation"),
            slots.reward.copy(),
            slots.terminated.copy(),
            slots.truncated.copy(),
            infos,
        )

    def render(self) -> tuple[Json, ...]:
        return tuple(
            from_json(self._worker.process.call("render", lane=lane)["frame"]) for lane in range(self.num_envs)
        )

    def close_extras(self, **kwargs: object) -> None:
        self._worker.process.close()
