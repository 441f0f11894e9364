"""Runs a function for many environments, in this process or in others, with progress and errors by name."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import EnvironmentFailure, LDMError
from .groups import kill_group, lead_group
from .guarding import INTERRUPTS, undisturbed
from .threads import fair_threads, own_threads

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext  # not on Windows

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
PATIENCE = 10.0  # seconds that a process gets to keep what it has when the user interrupts
SILENT_SECONDS = 1800.0  # a process that ends no episode for so long is taken to hang
DOING_BYTES = 120

Arguments = tuple[Any, ...]
"""Arguments of a function, in its order."""
Result = TypeVar("Result")


class Executor(Protocol):
    """Calls the same function for many environments: `run_tasks` on this machine, `ray.on_ray` on many."""

    def __call__(
        self,
        function: Callable[..., Result],
        tasks: Mapping[str, Arguments],
        jobs: int = 1,
        on_progress: Callable[[int], object] = lambda amount: None,
        limit: float | None = None,
        silence: float | None = None,
        *,
        shared: Mapping[str, str] | None = None,
        own: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[str, Result | LDMError]]:
        """Yields the name and the result or error of each environment as they come; see `run_tasks`."""


_listeners: list[Callable[[int], object]] = []
_shared: list[Any] = []  # what this process tells its parent, if it is a worker
_always = [False]


def report(amount: int) -> None:
    """Reports progress from within a task; 0 is a sign of life."""
    for listener in _listeners:
        listener(amount)


def listen(listener: Callable[[int], object]) -> None:
    """Calls ``listener`` from now on with what this process reports, and no other."""
    _listeners[:] = [listener]


def note(doing: str, seed: int = -1) -> None:
    """Notes what a task is doing, and in which episode, in case that it ends its process."""
    for shared in _shared:
        shared.doing, shared.seed = doing.encode()[: DOING_BYTES - 1], seed


@contextlib.contextmanager
def only_in_processes() -> Iterator[None]:
    """Lets no task run in this process meanwhile, so that an environment that crashes does not end it."""
    before, _always[:] = list(_always), [True]
    try:
        yield
    finally:
        _always[:] = before


def run_tasks(
    function: Callable[..., Result],
    tasks: Mapping[str, Arguments],
    jobs: int = 1,
    on_progress: Callable[[int], object] = lambda amount: None,
    limit: float | None = None,
    silence: float | None = None,
    quiet: bool = True,
    *,
    shared: Mapping[str, str] | None = None,
    own: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, Result | LDMError]]:
    """Calls ``function(*arguments, **shared, **own)`` for every task.

    Args:
        function: function to call; in another process it must be possible to pickle it, and what it returns.
        tasks: arguments by the name of the environment.
        jobs: number of processes; 1 works in this process, except within `only_in_processes`.
        on_progress: function to call with the amounts that tasks `report`.
        limit: seconds after which a task is ended and counts as failed. With a limit, tasks never run in this process.
        silence: seconds without a `report` after which a task is ended and counts as failed, in another process.
        quiet: suppress what other processes print.
        shared: folders that all tasks read, by the name of the function's argument; what is no folder (a Hub id) is
            passed on as it is.
        own: folders in which each task reads and writes the sub-folder of its name alone, by the name of the argument.

    Yields:
        ``(name, result)`` as they come; an error instead of the result if the task raised one or ended its process.
        Other tasks go on.
    """
    function = partial(function, **(shared or {}), **(own or {}))
    if in_this_process(jobs) and limit is None:
        listen(on_progress)
        share_cores()
        for name, arguments in tasks.items():
            yield name, attempt(name, function, arguments)
        return
    waiting = deque(tasks.items())
    workers: list[Worker] = []
    try:
        for _ in range(min(jobs, len(tasks))):
            workers.append(Worker(function, quiet, threads=1 if jobs > 1 else None))
            workers[-1].begin(*waiting.popleft())
        while workers:
            wait_for([worker.connection for worker in workers], POLL_SECONDS)
            on_progress(sum(worker.progress() for worker in workers))
            for worker in list(workers):
                outcome = worker.outcome(limit, silence)
                if outcome is None:
                    continue
                on_progress(worker.progress())
                name, lost = worker.name, worker.ended
                if lost:
                    workers.remove(worker)
                    if waiting:
                        workers.append(worker := Worker(function, quiet, threads=1 if jobs > 1 else None))
                if waiting:
                    worker.begin(*waiting.popleft())
                elif not lost:
                    workers.remove(worker)
                    worker.kill()
                yield name, outcome[0]
    except KeyboardInterrupt:
        for worker in workers:
            worker.interrupt()
        for worker in workers:
            worker.join()
        raise
    finally:
        for worker in workers:
            worker.kill()


def in_this_process(jobs: int) -> bool:
    """Whether `run_tasks` works in this process, without a limit."""
    return jobs == 1 and not _always[0]


class Worker:
    """A process that works on one task after another; whatever happens to it is a failure of its task alone.

    It is spawned, since forking a process in which torch has started threads can hang, and in a process group of its
    own, so that nothing that an environment has started outlives it.

    Args:
        function: function of all tasks.
        quiet: suppress what it prints.
        threads: number of torch's threads; None for a fair share of the cores.
        context: how it is started, if it is not spawned: by a fork server, say, which has no threads either.
    """

    def __init__(
        self,
        function: Callable[..., object],
        quiet: bool,
        threads: int | None,
        context: ForkServerContext | None = None,
    ) -> None:
        started = context or multiprocessing.get_context("spawn")
        self.connection, theirs = started.Pipe()
        self._shared: Any = started.RawValue(_Shared, 0, math.inf, -1)
        self._process = started.Process(target=_work, args=(function, theirs, self._shared, quiet, threads))
        self._process.start()
        theirs.close()
        self.name, self.ended, self._begun, self._seen = "", False, math.inf, 0

    def begin(self, name: str, arguments: Arguments) -> None:
        """Begins a task."""
        self.name, self._begun = name, time.monotonic()
        self._shared.heard = math.inf  # importing modules does not count as silence
        self._shared.doing, self._shared.seed = b"", -1
        with contextlib.suppress(OSError):  # it has died already, which `outcome` will tell
            self.connection.send((name, arguments))

    def progress(self) -> int:
        """What was reported since the last call."""
        amount: int = self._shared.amount - self._seen
        self._seen += amount
        return amount

    def outcome(self, limit: float | None, silence: float | None) -> tuple[Any] | None:
        """What the task returned, or why it failed; None if it goes on.

        Args:
            limit: seconds that the task may take.
            silence: seconds that it may be silent.
        """
        now = time.monotonic()
        # asked in this order: it may end right after it has sent something
        alive = self._process.is_alive()
        if self.connection.poll():
            try:
                return (self.connection.recv(),)
            except (EOFError, OSError):
                alive = False
            except Exception as error:  # what it sent cannot be unpickled
                return (EnvironmentFailure(self.name, "its process", error),)
        if not alive:
            return (self._failure(self._reason()),)
        if limit is not None and now - self._begun > limit:
            return (self._failure(f"no result after {limit:g} s"),)
        if silence is not None and now - self._shared.heard > silence:
            return (self._failure(f"nothing done in {silence:g} s"),)
        return None

    def _failure(self, reason: str) -> EnvironmentFailure:
        self.kill()
        seed = self._shared.seed
        doing = self._shared.doing.decode(errors="replace")
        return EnvironmentFailure(self.name, "its process", reason, None if seed < 0 else seed, doing or None)

    def _reason(self) -> str:
        """How the process has ended."""
        self._process.join(1)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"it ended with exit code {code}"
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            return "it was killed (SIGKILL), perhaps since it took too much memory"
        return f"it was ended by {name}"

    def interrupt(self) -> None:
        """Passes on an interrupt, so that the task keeps what it has."""
        posix = os.name == "posix"  # Windows interrupts all processes of a console by itself
        if posix and self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, signal.SIGINT)

    def join(self) -> None:
        """Waits for the end of the process, but not for ever."""
        self._process.join(PATIENCE)

    def kill(self) -> None:
        """Ends the process and all that it has started."""
        self.ended = True
        self.connection.close()
        if self._process.pid is not None:
            with contextlib.suppress(OSError):
                kill_group(self._process.pid)
        self._process.kill()
        self._process.join()


class _Shared(ctypes.Structure):
    """What a worker tells its parent through shared memory, which is there also when the worker is not.

    Attributes:
        amount: sum of what its tasks have reported.
        heard: when its task began or last reported something, by the monotonic clock, which all processes share;
            infinity until the task begins.
        seed: seed of the episode that it is in; -1 if it is in none.
        doing: what it is doing.
    """

    _fields_ = (
        ("amount", ctypes.c_longlong),
        ("heard", ctypes.c_double),
        ("seed", ctypes.c_longlong),
        ("doing", ctypes.c_char * DOING_BYTES),
    )


def attempt(name: str, function: Callable[..., Result], arguments: Arguments) -> Result | LDMError:
    """Calls a function; returns its error, if any, as one that names the environment."""
    report(0)  # the task begins
    with undisturbed():
        try:
            return function(*arguments)
        except LDMError as error:
            return error
        except INTERRUPTS:
            raise
        except BaseException as error:  # a library's error or a bug; the other environments go on
            logger.debug("%s", name, exc_info=True)
            return EnvironmentFailure(name, "an unforeseen way", error)


def share_cores() -> None:
    """Limits the threads of this process to its share of the cores, unless the user has said how many there are to
    be."""
    import torch

    if own_threads() is None and torch.get_num_threads() > 1:
        torch.set_num_threads(min(torch.get_num_threads(), fair_threads()))


def _work(
    function: Callable[..., object], connection: Connection, shared: Any, quiet: bool, threads: int | None
) -> None:
    """Answers the parent's tasks until it closes the connection, and ends with it; the main function of a process."""
    import torch
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own holds a semaphore of the system, which a process that is killed leaves
    lead_group()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        kill_group(os.getpid())

    threading.Thread(target=end_with_parent, daemon=True).start()
    if threads is None:
        share_cores()
    else:
        torch.set_num_threads(threads)
    if quiet:
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silence, stream)

    def add(amount: int) -> None:
        shared.heard = time.monotonic()
        shared.amount += amount

    _shared[:] = [shared]
    listen(add)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            name, arguments = connection.recv()
            outcome = attempt(name, function, arguments)
            try:
                connection.send(outcome)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                connection.send(EnvironmentFailure(name, "its process", error))
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    kill_group(os.getpid())  # this process, and whatever an environment has started
