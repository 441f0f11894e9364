"""Runs a function for many environments, in this process or in a pool of others, with progress and errors by name."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

from ..errors import EnvironmentFailure, LDMError
from .threads import fair_threads, own_threads

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5

Arguments = tuple[Any, ...]
"""Arguments of a function, in its order."""
Result = TypeVar("Result")

_listeners: list[Callable[[int], object]] = []


def report(amount: int) -> None:
    """Reports progress from within a task; 0 is a sign of life."""
    for listener in _listeners:
        listener(amount)


def listen(listener: Callable[[int], object]) -> None:
    """Calls ``listener`` from now on with what this process reports, and no other."""
    _listeners[:] = [listener]


def run_tasks(
    function: Callable[..., Result],
    tasks: Mapping[str, Arguments],
    jobs: int = 1,
    on_progress: Callable[[int], object] = lambda amount: None,
    limit: float | None = None,
    silence: float | None = None,
) -> Iterator[tuple[str, Result | LDMError]]:
    """Calls ``function(*arguments)`` for every task.

    Args:
        function: function to call; with several processes it must be possible to pickle it.
        tasks: arguments by the name of the environment.
        jobs: number of processes; 1 works in this process.
        on_progress: function to call with the amounts that tasks `report`.
        limit: seconds after which a task is ended and counts as failed. With a limit, tasks never run in this process.
        silence: seconds without a `report` after which a task is ended and counts as failed, with several processes.

    Yields:
        ``(name, result)`` as they come; an error instead of the result if the task raised one. Other tasks go on.
    """
    if jobs == 1 and limit is None:
        listen(on_progress)
        share_cores()
        for name, arguments in tasks.items():
            yield name, attempt(name, function, arguments)
        return
    # Spawned, since forking a process in which torch has started threads can hang. Each pool has one process: if it
    # crashes, only its own task fails.
    context = multiprocessing.get_context("spawn")
    counter: Synchronized[int] = context.Value("q", 0)
    seen = 0
    waiting = deque(tasks.items())
    begun: dict[Future[Result | LDMError], _Task] = {}

    def start(worker: _Worker) -> None:
        name, arguments = waiting.popleft()
        worker.heard.value = math.inf  # importing modules does not count as silence
        begun[worker.pool.submit(attempt, name, function, arguments)] = _Task(name, worker, time.monotonic())

    def new_worker() -> _Worker:
        heard: Synchronized[float] = context.Value("d", math.inf)
        return _Worker(ProcessPoolExecutor(1, context, _start_worker, (counter, heard)), heard)

    try:
        for _ in range(min(jobs, len(tasks))):
            start(new_worker())
        while begun:
            finished, _ = wait(begun, POLL_SECONDS, FIRST_COMPLETED)
            on_progress(counter.value - seen)
            seen = counter.value
            for future, task in begun.items():
                if not future.done():
                    task.end_if_overdue(limit, silence)
            for future in finished:
                task = begun.pop(future)
                error = future.exception()
                if task.overdue is not None and error is not None:
                    error = TimeoutError(task.overdue)
                lost = error is not None or task.overdue is not None  # it may have ended just before it was killed
                if lost or not waiting:
                    task.worker.pool.shutdown(wait=False)
                if waiting:
                    start(new_worker() if lost else task.worker)
                yield (
                    task.name,
                    future.result() if error is None else EnvironmentFailure(task.name, "its process", error),
                )
    finally:
        for task in begun.values():
            if limit is not None or silence is not None:
                task.worker.kill()  # a process that hangs would keep this one from ending
            task.worker.pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Worker:
    """A pool of one process.

    Args:
        pool: the pool.
        heard: when its task began or last reported something, by the monotonic clock, which all processes share;
            infinity until the task begins.
    """

    pool: ProcessPoolExecutor
    heard: Synchronized[float]

    def kill(self) -> None:
        """Ends the process, for which a pool has no public way before Python 3.14; its task fails."""
        for process in list(self.pool._processes.values()):
            process.kill()


@dataclass
class _Task:
    """A task that has begun.

    Args:
        name: name of the environment.
        worker: the process that works on it.
        started: when it was submitted, by the monotonic clock.
        overdue: why it was ended, if it was.
    """

    name: str
    worker: _Worker
    started: float
    overdue: str | None = None

    def end_if_overdue(self, limit: float | None, silence: float | None) -> None:
        """Kills the process if the task takes, or is silent for, more seconds than allowed."""
        now = time.monotonic()
        if limit is not None and now - self.started > limit:
            self.overdue = f"no result after {limit:g} s"
        elif silence is not None and now - self.worker.heard.value > silence:
            self.overdue = f"nothing done in {silence:g} s"
        else:
            return
        self.worker.kill()


def attempt(name: str, function: Callable[..., Result], arguments: Arguments) -> Result | LDMError:
    """Calls a function; returns its error, if any, as one that names the environment."""
    report(0)  # the task begins
    try:
        return function(*arguments)
    except LDMError as error:
        return error
    except Exception as error:  # a library's error or a bug; the other environments go on
        logger.debug("%s", name, exc_info=True)
        return EnvironmentFailure(name, "an unforeseen way", error)


def share_cores() -> None:
    """Limits the threads of this process to its share of the cores, unless the user has said how many there are to
    be."""
    import torch

    if own_threads() is None and torch.get_num_threads() > 1:
        torch.set_num_threads(min(torch.get_num_threads(), fair_threads()))


def _start_worker(counter: Synchronized[int], heard: Synchronized[float]) -> None:
    """Prepares a process: one thread (there is one process per core), no output, and an end with its parent."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)

    def add(amount: int) -> None:
        heard.value = time.monotonic()
        with counter.get_lock():
            counter.value += amount

    listen(add)
