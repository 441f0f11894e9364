"""The same work for many environments: in this process, or in a pool of others, with progress and errors by name."""

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
from typing import Any

from ..errors import EnvironmentFailure, LDMError
from .threads import fair_threads, own_threads

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
_report: Callable[[int], None] = lambda amount: None  # noqa: E731 - replaced below


def report(amount: int) -> None:
    """Called by the work: so much more is done."""
    _report(amount)


def run_tasks(
    function: Callable[..., Any],
    tasks: Mapping[str, tuple],
    jobs: int = 1,
    on_progress: Callable[[int], None] = lambda amount: None,
    limit: float | None = None,
    silence: float | None = None,
) -> Iterator[tuple[str, Any | LDMError]]:
    """Calls ``function(*arguments)`` for every task.

    Args:
        function: the work; can be pickled unless it is done in this process.
        tasks: arguments by the name of the environment.
        jobs: processes; 1 works in this process.
        on_progress: receives what the work tells `report`.
        limit: seconds that one task may take; a longer one is ended and is a failure. The work is then never done in this process.
        silence: seconds that one task may go without a `report`; likewise, where several processes work.

    Yields:
        ``(name, result)`` as they come; an error instead of the result where the work raised one. Other tasks go on.
    """
    if jobs == 1 and limit is None:
        set_report(on_progress)
        share_cores()
        for name, arguments in tasks.items():
            yield name, attempt(name, function, arguments)
        return
    # Spawned, since forking a process in which torch has started threads can hang. One process a pool: if it crashes, only its own task has failed.
    context = multiprocessing.get_context("spawn")
    counter, told = context.Value("q", 0), 0
    waiting = deque(tasks.items())
    running: dict[Future, tuple[str, _Worker, float]] = {}
    overdue: dict[Future, str] = {}

    def start(worker: _Worker) -> None:
        name, arguments = waiting.popleft()
        worker.heard.value = math.inf  # importing what the work needs is no silence
        running[worker.pool.submit(attempt, name, function, arguments)] = name, worker, time.monotonic()

    def new_worker() -> _Worker:
        heard = context.Value("d", math.inf)
        return _Worker(ProcessPoolExecutor(1, context, _start_worker, (counter, heard)), heard)

    try:
        for _ in range(min(jobs, len(tasks))):
            start(new_worker())
        while running:
            finished, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
            on_progress(counter.value - told)
            told = counter.value
            now = time.monotonic()
            for future, (_, worker, started) in running.items():
                if future.done():
                    continue
                if limit is not None and now - started > limit:
                    overdue[future] = f"no result after {limit:g} s"
                elif silence is not None and now - worker.heard.value > silence:
                    overdue[future] = f"nothing done in {silence:g} s"
                else:
                    continue
                worker.kill()
            for future in finished:
                name, worker, _ = running.pop(future)
                error = future.exception()
                if future in overdue and error is not None:
                    error = TimeoutError(overdue[future])
                lost = error is not None or future in overdue  # it may have ended just before it was killed
                if lost or not waiting:
                    worker.pool.shutdown(wait=False)
                if waiting:
                    start(new_worker() if lost else worker)
                yield name, future.result() if error is None else EnvironmentFailure(name, "its process", error)
    finally:
        for _, worker, _ in running.values():
            if limit is not None or silence is not None:
                worker.kill()  # what hangs would keep this process from ending
            worker.pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Worker:
    """A pool of one process.

    Attributes:
        pool: runs the tasks.
        heard: when the current task has begun or told that something is done, by the monotonic clock, which all processes share; infinity until it
            begins.
    """

    pool: ProcessPoolExecutor
    heard: Any

    def kill(self) -> None:
        """Ends the process, for which a pool has no public way before Python 3.14; its task fails."""
        for process in list(self.pool._processes.values()):
            process.kill()


def attempt(name: str, function: Callable[..., Any], arguments: tuple) -> Any | LDMError:
    report(0)  # it begins
    try:
        return function(*arguments)
    except LDMError as error:
        return error
    except Exception as error:  # of a library, or a mistake of ours: the other environments go on
        logger.debug("%s", name, exc_info=True)
        return EnvironmentFailure(name, "an unforeseen way", error)


def set_report(function: Callable[[int], None]) -> None:
    global _report
    _report = function


def share_cores() -> None:
    """Before this process computes itself: no more threads than its share of the cores, unless the user has said how many."""
    import torch

    if own_threads() is None and torch.get_num_threads() > 1:
        torch.set_num_threads(min(torch.get_num_threads(), fair_threads()))


def _start_worker(counter: Any, heard: Any) -> None:
    """One thread each, since there are as many processes as cores; what libraries print goes nowhere; nobody outlives the parent."""
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

    set_report(add)
