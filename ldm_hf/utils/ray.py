"""The same work for many environments on a Ray cluster: what `parallel.run_tasks` is for the processes of one machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import EnvironmentFailure, LDMError, MissingExtraError
from .parallel import POLL_SECONDS, attempt, set_report


class _Progress:
    """How much is done, told by the tasks wherever they run."""

    def __init__(self) -> None:
        self.amount = 0

    def add(self, amount: int) -> None:
        self.amount += amount

    def total(self) -> int:
        return self.amount


def on_ray(address: str | None = None) -> Callable[..., Iterator[tuple[str, Any | LDMError]]]:
    """An executor that works on a Ray cluster (Moritz et al. 2018). Its machines need the same packages, and have to see the same folders.

    Args:
        address: ``host:port``, ``auto`` for a cluster that this machine is part of, None for a new one on this machine.

    Returns:
        A function of the arguments of `parallel.run_tasks`; ``jobs`` tasks run at a time, one CPU each.

    Raises:
        MissingExtraError: without ray.
        LDMError: if there is no cluster at this address.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", extra="ray") from error
    told = {name: value for name, value in os.environ.items() if name.startswith("LDM_HF_")}
    try:
        ray.init(address, runtime_env={"env_vars": told}, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        raise LDMError(f"no Ray cluster at {address}: {error}") from error

    def run(
        function: Callable[..., Any],
        tasks: Mapping[str, tuple],
        jobs: int = 1,
        on_progress: Callable[[int], Any] = lambda amount: None,
    ) -> Iterator[tuple[str, Any | LDMError]]:
        progress = ray.remote(num_cpus=0)(_Progress).remote()
        work = ray.remote(num_cpus=1, max_retries=0)(_work)
        waiting, reported = deque(tasks.items()), 0
        running: dict[Any, str] = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                name, arguments = waiting.popleft()
                running[work.remote(progress, name, function, arguments)] = name
            finished, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            total = ray.get(progress.total.remote())
            on_progress(total - reported)
            reported = total
            for reference in finished:
                name = running.pop(reference)
                try:
                    yield name, ray.get(reference)
                except ray.exceptions.RayError as error:  # its process or machine is gone
                    yield name, EnvironmentFailure(name, "its process", error)

    return run


def _work(progress: Any, name: str, function: Callable[..., Any], arguments: tuple) -> Any | LDMError:
    import torch

    torch.set_num_threads(1)
    set_report(lambda amount: progress.add.remote(amount))
    return attempt(name, function, arguments)
