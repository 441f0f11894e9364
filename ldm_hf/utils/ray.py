"""Runs the same function for many environments on a Ray cluster, as `parallel.run_tasks` does on one machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import EnvironmentFailure, LDMError, MissingExtraError
from .parallel import POLL_SECONDS, Arguments, attempt, listen

Results = Iterator[tuple[str, Any | LDMError]]
"""Names of environments, each with its result or error."""


class _Progress:
    """Sums up what the tasks report, wherever they run."""

    def __init__(self) -> None:
        self.amount = 0

    def add(self, amount: int) -> None:
        self.amount += amount

    def total(self) -> int:
        return self.amount


def on_ray(address: str | None = None) -> Callable[..., Results]:
    """An executor that works on a Ray cluster (Moritz et al. 2018).

    The machines of the cluster need the same packages and access to the same folders.

    Args:
        address: ``host:port``, ``auto`` for a cluster that this machine is part of, None for a new one on this machine.

    Returns:
        A function with the arguments of `parallel.run_tasks`; ``jobs`` tasks run at a time, one CPU each.

    Raises:
        MissingExtraError: if ray is not installed.
        LDMError: if there is no cluster at this address.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", extra="ray") from error
    settings = {name: value for name, value in os.environ.items() if name.startswith("LDM_HF_")}
    try:
        ray.init(address, runtime_env={"env_vars": settings}, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise LDMError(f"no Ray cluster at {address}: {error}") from error

    def run(
        function: Callable[..., Any],
        tasks: Mapping[str, Arguments],
        jobs: int = 1,
        on_progress: Callable[[int], object] = lambda amount: None,
    ) -> Results:
        progress = ray.remote(num_cpus=0)(_Progress).remote()
        work = ray.remote(num_cpus=1, max_retries=0)(_work)
        waiting, reported = deque(tasks.items()), 0
        begun: dict[object, str] = {}
        while waiting or begun:
            while waiting and len(begun) < jobs:
                name, arguments = waiting.popleft()
                begun[work.remote(progress, name, function, arguments)] = name
            finished, _ = ray.wait(list(begun), timeout=POLL_SECONDS)
            total = ray.get(progress.total.remote())
            on_progress(total - reported)
            reported = total
            for reference in finished:
                name = begun.pop(reference)
                try:
                    yield name, ray.get(reference)
                except ray.exceptions.RayError as error:  # the process or machine is gone
                    yield name, EnvironmentFailure(name, "its process", error)

    return run


def _work(progress: Any, name: str, function: Callable[..., object], arguments: Arguments) -> object:
    import torch

    torch.set_num_threads(1)
    listen(lambda amount: progress.add.remote(amount))
    return attempt(name, function, arguments)
