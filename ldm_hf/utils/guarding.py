"""Environments are code of others: what they may raise, and what they may change of the process that they run in."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Protocol

logger = logging.getLogger(__name__)

INTERRUPTS = (KeyboardInterrupt, GeneratorExit)
"""Exceptions that are meant for us. Any other that an environment raises is its failure, ``SystemExit`` included."""

generation = 0
"""Number of forks between the first process and this one."""


def _count_fork() -> None:
    global generation
    generation += 1


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_count_fork)


class Closable(Protocol):
    """What can be closed: an environment, or a vector of environments."""

    def close(self) -> object:
        """Closes it."""


def close(env: Closable, name: str) -> None:
    """Closes an environment; since nobody needs it any more, an error is only logged."""
    try:
        env.close()
    except INTERRUPTS:
        raise
    except BaseException as error:
        logger.warning("environment %s failed in close: %s: %s; nothing is lost", name, type(error).__name__, error)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Restores at the end what environments may change: working directory, signal handlers, alarms, warnings, NumPy's
    error state and Python's output streams."""
    import numpy as np  # late, since every command imports this module

    folder, streams = _working_directory(), (sys.stdout, sys.stderr)
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    errors, callback = np.geterr(), np.geterrcall()
    with warnings.catch_warnings():
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            np.seterr(**errors)
            np.seterrcall(callback)
            if folder and _working_directory() != folder:
                os.chdir(folder)
            if threading.current_thread() is threading.main_thread():
                _restore(handlers)


def _working_directory() -> str | None:
    """The working directory; None if it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _restore(handlers: Mapping[signal.Signals, object]) -> None:
    """Sets signal handlers that have changed to what they were."""
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler and handler is not None:  # None: not set by Python
            signal.signal(number, handler)  # type: ignore[arg-type]
            if number.name == "SIGALRM":  # not on Windows
                signal.setitimer(signal.ITIMER_REAL, 0)
