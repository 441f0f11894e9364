"""Runs the same function for many environments on a Ray cluster, as `parallel.run_tasks` does on one machine."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from ..errors import EnvironmentFailure, LDMError, MissingExtraError
from .names import check_name
from .parallel import POLL_SECONDS, Arguments, Executor, Worker
from .shipping import Changes, Files, Scratch, State, apply, changes, pack, state, unpack

logger = logging.getLogger(__name__)

Outcome = tuple[str, Any | LDMError]
"""The name of an environment with its result or error."""

TRIES = 3  # a task whose machine is lost so often has perhaps ended it
REACH_SECONDS = 10.0
CLOSE_SECONDS = 5.0


def on_ray(address: str | None = None) -> Executor:
    """An executor that works on a Ray cluster (Moritz et al. 2018).

    The machines need the same packages, but no folder in common: what a task reads is sent to it, and what it stores
    comes back when it ends. A task whose machine is lost begins again on another one. Each of the ``jobs`` processes
    takes one CPU; if the cluster has fewer, as many work as it has.

    Args:
        address: ``host:port``, ``auto`` for a cluster that this machine is part of, None for a new one on this machine.

    Returns:
        A function with the arguments of `parallel.run_tasks`.

    Raises:
        MissingExtraError: if ray is not installed.
        LDMError: if there is no cluster at this address.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", extra="ray") from error
    settings = {name: value for name, value in os.environ.items() if name.startswith("LDM_HF_")}
    if address and "://" in address:
        raise LDMError(f"--address {address}: give host:port, from a machine that is part of the cluster")
    try:
        _reach(address)
        ray.init(
            address,
            runtime_env={"env_vars": settings},
            ignore_reinit_error=True,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise LDMError(
            f"no Ray cluster at {address} ({error}); begin one there with `ray start --head`, and give its host:port"
        ) from error
    return _run


def _reach(address: str | None) -> None:
    """Raises an `OSError` if nobody answers at ``host:port``; Ray itself waits for minutes, and ends the process."""
    host, _, port = (address or "").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), REACH_SECONDS).close()


def _run(
    function: Callable[..., Any],
    tasks: Mapping[str, Arguments],
    jobs: int = 1,
    on_progress: Callable[[int], object] = lambda amount: None,
    limit: float | None = None,
    silence: float | None = None,
    *,
    shared: Mapping[str, str] | None = None,
    own: Mapping[str, str] | None = None,
) -> Iterator[Outcome]:
    """See `parallel.run_tasks`.

    Raises:
        LDMError: if no process can start in the cluster.
    """
    import ray

    places = {key: Path(place).absolute() for key, place in (own or {}).items()}
    sent = {
        key: ray.put(pack(Path(place))) if Path(place).is_dir() else place for key, place in (shared or {}).items()
    }
    make_lane = partial(ray.remote(num_cpus=1, max_concurrency=2, scheduling_strategy="SPREAD")(_Lane).remote, sent)
    pool = _Pool(make_lane, function, tasks, places, (limit, silence))
    try:
        while pool.waiting or pool.busy:
            pool.fill(jobs)
            yield from pool.begin()
            yield from pool.listen(on_progress)
    finally:
        pool.close()


@dataclass(frozen=True)
class _Begun:
    """A task at work in a lane, and the state of its own folders from which it went out."""

    name: str
    lane: Any
    before: dict[str, State]


class _Pool:
    """The caller's side: lanes of the cluster, and the tasks that wait for one or are in one.

    Args:
        make_lane: starts a process in the cluster, as soon as there is a CPU for it.
        function: function of all tasks.
        tasks: arguments by the name of the environment.
        places: folders in which each task has a sub-folder, by the name of the function's argument.
        limits: seconds that a task may take, and that it may be silent.
    """

    def __init__(
        self,
        make_lane: Callable[[], Any],
        function: Callable[..., Any],
        tasks: Mapping[str, Arguments],
        places: dict[str, Path],
        limits: tuple[float | None, float | None],
    ) -> None:
        self._make_lane, self._function, self._tasks = make_lane, function, tasks
        self._places, self._limits = places, limits
        self.waiting = deque(tasks)
        self.busy: dict[Any, _Begun] = {}  # by the stream of what the lane tells
        self._starting: dict[Any, Any] = {}  # lanes by what is there once they are
        self._idle: list[Any] = []
        self._closing: list[Any] = []
        self._lost: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._stillborn = 0  # lanes that did not start since one did
        self._error: Exception | None = None  # of the last of them

    def fill(self, jobs: int) -> None:
        """Starts lanes, as many as there are tasks and at most ``jobs``.

        Raises:
            LDMError: if none starts.
        """
        lanes = len(self._starting) + len(self._idle) + len(self.busy)
        if self._stillborn >= TRIES * jobs:
            if not lanes:
                raise LDMError(
                    f"no process starts in the Ray cluster; have its machines this package? ({self._error})"
                )
            return
        for _ in range(lanes, min(jobs, len(self.waiting) + len(self.busy))):
            lane = self._make_lane()
            self._starting[lane.start.remote()] = lane

    def begin(self) -> Iterator[Outcome]:
        """Gives every idle lane a task, or closes it if there is none; yields tasks that cannot be sent."""
        while self._idle:
            lane = self._idle.pop()
            if not self.waiting:
                self._closing.append(lane.close.remote())
                continue
            name = self.waiting.popleft()
            try:
                folders = {key: place / check_name(name) for key, place in self._places.items()}
                before = {key: state(folder) for key, folder in folders.items()}
                files = {key: pack(folder, before[key]) for key, folder in folders.items()}
            except (OSError, LDMError) as error:
                self._idle.append(lane)
                yield name, error if isinstance(error, LDMError) else EnvironmentFailure(name, "reading it", error)
                continue
            call = pickle.dumps((self._function, self._tasks[name]))
            stream = lane.work.options(num_returns="streaming").remote(name, call, files, *self._limits)
            self.busy[stream] = _Begun(name, lane, before)

    def listen(self, on_progress: Callable[[int], object]) -> Iterator[Outcome]:
        """Waits for news from the lanes, but not for long; yields tasks that have ended."""
        import ray

        sources = [*self._starting, *self.busy]
        if not sources:
            return
        ray.wait(sources, timeout=POLL_SECONDS)
        for source in ray.wait(sources, num_returns=len(sources), timeout=0)[0]:
            if source in self._starting:
                lane = self._starting.pop(source)
                try:
                    ray.get(source)
                except ray.exceptions.RayError as error:  # its successor may, on another machine
                    self._stillborn, self._error = self._stillborn + 1, error
                else:
                    self._idle.append(lane)
                    self._stillborn = 0
                continue
            try:
                news = ray.get(next(source))
            except (ray.exceptions.RayError, StopIteration) as error:
                begun = self.busy.pop(source)
                on_progress(-self._reported.pop(begun.name, 0))  # it is reported again
                yield from self._lose(begun, error)
                continue
            if isinstance(news, int):
                self._reported[self.busy[source].name] += news
                on_progress(news)
            else:
                begun = self.busy.pop(source)
                self._idle.append(begun.lane)
                yield begun.name, self._keep(begun, *news)

    def _lose(self, begun: _Begun, error: Exception) -> Iterator[Outcome]:
        """Lets a task whose lane is gone begin again in another, unless it has had several."""
        import ray

        ray.kill(begun.lane)  # if it is there after all, it is not to go on
        self._lost[begun.name] += 1
        self._stillborn = 0
        if self._lost[begun.name] < TRIES:
            logger.warning("%s lost its machine and begins again on another (%s)", begun.name, error)
            self.waiting.append(begun.name)
        else:
            yield begun.name, EnvironmentFailure(begun.name, f"its machine, {TRIES} times", error)

    def _keep(self, begun: _Begun, outcome: bytes | LDMError, found: dict[str, Changes]) -> Any:
        """Stores what a task has stored, and returns its result."""
        try:
            for key, changed in found.items():
                apply(changed, self._places[key] / begun.name, begun.before[key])
        except LDMError as error:
            return error
        return outcome if isinstance(outcome, LDMError) else pickle.loads(outcome)

    def close(self) -> None:
        """Ends all lanes, also in the middle of a task."""
        import ray

        lanes = [*self._idle, *(begun.lane for begun in self.busy.values())]
        self._closing += [lane.close.remote() for lane in lanes]
        if self._closing:
            ray.wait(self._closing, num_returns=len(self._closing), timeout=CLOSE_SECONDS)
        for lane in (*lanes, *self._starting.values()):
            ray.kill(lane)


# --- in the cluster --------------------------------------------------------------------------------------------------


class _Lane:
    """A process in the cluster. The tasks run in a process that it starts, as on one machine: so an environment that
    crashes or hangs fails alone, and a lane that is gone tells of its machine, not of its task.

    Args:
        shared: files of folders that all tasks read, or what is no folder, by the name of the function's argument.
    """

    def __init__(self, shared: dict[str, Any]) -> None:
        self._shared = shared
        self._worker: Worker | None = None

    def start(self) -> None:
        """Prepares what all tasks share."""
        import ray

        self._scratch = Scratch()
        for key, place in self._shared.items():
            if not isinstance(place, str):
                folder = self._scratch.path / "shared" / key
                unpack(ray.get(place), folder)
                self._shared[key] = str(folder)

    def work(
        self, name: str, call: bytes, own: dict[str, Files], limit: float | None, silence: float | None
    ) -> Iterator[int | tuple[bytes | LDMError, dict[str, Changes]]]:
        """Yields what a task reports, at last its pickled result, or its error, and what it has changed.

        Args:
            name: name of the environment.
            call: the function and its arguments, pickled: only the process of the task imports what they need.
            own: files of the task's own folders by the name of the function's argument.
            limit: seconds that it may take.
            silence: seconds that it may be silent.
        """
        folders = {key: self._scratch.path / "own" / key / name for key in own}
        for key, files in own.items():
            unpack(files, folders[key])
        before = {key: state(folder) for key, folder in folders.items()}
        if self._worker is None or self._worker.ended:
            self._worker = Worker(_call, quiet=True, threads=1)
        parents = {key: str(folder.parent) for key, folder in folders.items()}
        self._worker.begin(name, (call, self._shared | parents))
        outcome = None
        while outcome is None:
            wait_for([self._worker.connection], POLL_SECONDS)
            outcome = self._worker.outcome(limit, silence)
            if amount := self._worker.progress():
                yield amount
        found = {key: changes(folder, before[key]) for key, folder in folders.items()}
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        yield outcome[0], found

    def close(self) -> None:
        """Ends the process of the tasks, and removes all files."""
        if self._worker is not None:
            self._worker.kill()
        self._scratch.remove()


def _call(call: bytes, folders: dict[str, str]) -> bytes:
    function, arguments = pickle.loads(call)
    return pickle.dumps(function(*arguments, **folders))
