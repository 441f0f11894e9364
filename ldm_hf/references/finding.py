"""Finds a reference policy for every environment: tries what fits in order of cost, measures it, keeps the best, records everything."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
from tqdm.auto import tqdm

from ..environments import EnvironmentSpec, make
from ..errors import EnvironmentFailure, LDMError
from ..rollouts import HELD_OUT_SEED, Policy, RandomPolicy, ReferencePolicy, measurement, rollout
from ..rollouts.returns import SELECTION_SEED, half_width
from ..utils.parallel import run_tasks
from .base import METHODS
from .learned.policy import training_record
from .learned.training import train_reference
from .loading import build_reference, known_policies, policy_of
from .records import Attempt, Record

logger = logging.getLogger(__name__)

EPISODES = 50  # to measure with at the least
PILOT_EPISODES = 5  # to choose parameters with, on other seeds
SHORTEST_TRAINING = 30.0  # seconds; with less nothing is learned
LONGEST_EPISODE = 20_000  # steps; some policies would never come to an end
LAST_RESORTS = ("constant", "gait", "rl")  # tried wherever they can be; never good enough by themselves


class OutOfTime(LDMError):
    """A measurement takes longer than the budget allows."""


class Ending(gymnasium.Wrapper):
    """Complains of an episode that does not end, and when the time is over."""

    def __init__(self, env: gymnasium.Env, name: str, deadline: float) -> None:
        super().__init__(env)
        self.name, self.deadline, self.steps = name, deadline, 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps > LONGEST_EPISODE:
            raise EnvironmentFailure(self.name, "step", f"the episode has not ended after {LONGEST_EPISODE:,} steps")
        if time.monotonic() > self.deadline:
            raise OutOfTime(f"{self.name}: its episodes take longer than the budget; give more of it (--budget)")
        return self.env.step(action)


def measure(spec: EnvironmentSpec, policy: Policy, deadline: float = math.inf) -> dict[str, Any]:
    """Mean return of a policy with its 95 % interval, on held-out seeds.

    Args:
        spec: row of the catalogue.
        policy: what is measured.
        deadline: of the monotonic clock.

    Returns:
        ``mean``, ``ci`` (half of the interval), ``std``, ``episodes``, ``seed``.

    Raises:
        OutOfTime: after the deadline.
        EnvironmentFailure: if the environment raises an error, or an episode does not end.
    """
    return _play(spec, policy, max(EPISODES, spec.episodes), HELD_OUT_SEED, deadline)


def _play(spec: EnvironmentSpec, policy: Policy, episodes: int, seed: int, deadline: float) -> dict[str, Any]:
    def make_ending() -> gymnasium.Env:
        return Ending(make(spec), spec.name, deadline)

    returns = rollout(make_ending, policy, episodes, seed, num_envs=1, name=spec.name)
    found = measurement(returns, seed)
    del found["returns"]
    return found | {"ci": half_width(returns)}


def candidates(spec: EnvironmentSpec, env: gymnasium.Env) -> list[str]:
    """What to try, in this order: what the row names, what fits by increasing cost, a constant action, an open-loop gait, reinforcement learning."""
    policies = known_policies()
    fitting = [name for name, policy in policies.items() if name not in LAST_RESORTS and policy.fits(env)]
    fitting.sort(key=lambda name: METHODS.index(policies[name].method))
    last = [name for name in LAST_RESORTS if name == "rl" or policies[name].fits(env)]
    named = [spec.reference] if spec.reference not in (None, *LAST_RESORTS) else []
    return list(dict.fromkeys([*named, *fitting, *last]))


def find_reference(
    spec: EnvironmentSpec, folder: str | Path, budget: float = 1800.0, seed: int = 0, force: bool = False
) -> Record:
    """Finds the reference policy of one environment; goes on where it was interrupted.

    Args:
        spec: row of the catalogue.
        folder: of all policies; the record and a trained policy go into a sub-folder.
        budget: seconds. Learning gets what is left; measuring what was learned comes on top.
        seed: of what is learned.
        force: forget what was tried before.

    Returns:
        The record, which lies in the sub-folder, too.

    Raises:
        EnvironmentFailure: if the environment cannot be measured at all.
        OutOfTime: if random actions take longer than the budget.
    """
    place = Path(folder) / spec.name
    record = Record.open(spec, place, force)
    if record.finished and (record.good or record.budget >= budget):
        return record
    record.budget, record.finished = budget, False
    started = time.monotonic() - record.seconds
    deadline = started + budget

    def save() -> None:
        record.seconds = round(time.monotonic() - started, 2)
        record.save(place)

    if record.random is None:
        record.random = measure(spec, RandomPolicy(), deadline)
        save()
    env = make(spec)
    todo, threshold = candidates(spec, env), getattr(env.spec, "reward_threshold", None)
    env.close()
    for name in todo:
        if record.good or record.tried(name):
            continue
        if name == "rl" and deadline - time.monotonic() < SHORTEST_TRAINING and training_record(place) is None:
            continue  # not tried: with a larger budget it will be
        try:
            record.attempts.append(_attempt(spec, folder, name, deadline, seed, force))
        except OutOfTime as error:  # likewise
            logger.info("%s (%s)", error, name)
            continue
        record.good = _good(record, threshold)
        save()
    record.finished = True
    save()
    return record


def find_references(
    specs: list[EnvironmentSpec],
    folder: str | Path,
    budget: float = 1800.0,
    jobs: int = 1,
    seed: int = 0,
    force: bool = False,
    limit: float | None = None,
    on_record: Callable[[Record], None] = lambda record: None,
) -> dict[str, LDMError]:
    """Finds the references of many environments, those that need no training first; see `find_reference`.

    Args:
        specs: rows of the catalogue.
        folder: of all policies.
        budget: seconds of each environment.
        jobs: processes.
        seed: of what is learned.
        force: forget what was tried before.
        limit: seconds after which an environment is thought to hang and is ended; it then runs in another process.
        on_record: receives every record as it is finished.

    Returns:
        Errors by environment; the others went on.
    """
    ordered = sorted(specs, key=lambda spec: (spec.reference == "rl", spec.reference is None))
    tasks = {spec.name: (spec, str(folder), budget, seed, force) for spec in ordered}
    failures: dict[str, LDMError] = {}
    better = 0
    with tqdm(total=len(tasks), desc="reference", unit="environment") as bar:
        for name, outcome in run_tasks(find_reference, tasks, jobs, limit=limit):
            if isinstance(outcome, LDMError):
                failures[name] = outcome
            else:
                better += outcome.beats_random
                on_record(outcome)
            bar.update()
            bar.set_postfix(better_than_random=better, failed=len(failures))
    return failures


def _attempt(spec: EnvironmentSpec, folder: str | Path, name: str, deadline: float, seed: int, force: bool) -> Attempt:
    """One method: made or trained, and measured; what goes wrong is part of the record."""
    started = time.monotonic()
    attempt = Attempt(name, {}, "rl" if name == "rl" else policy_of(spec.name, name).method)
    try:
        if name == "rl":
            attempt.training = train_reference(spec, folder, deadline - started, seed, force)
            deadline = math.inf
        elif name == spec.reference:
            attempt.kwargs = spec.reference_kwargs
        else:
            attempt.kwargs = _best_variant(spec, folder, name, deadline)
        attempt.score = measure(spec, _policy(spec, folder, name, attempt.kwargs), deadline)
    except OutOfTime:
        raise
    except Exception as error:  # of a library, or of a policy made for other environments: the next is tried
        attempt.error = str(error) if isinstance(error, LDMError) else f"{type(error).__name__}: {error}"
    attempt.seconds = round(time.monotonic() - started, 2)
    return attempt


def _policy(spec: EnvironmentSpec, folder: str | Path, name: str, kwargs: dict[str, Any]) -> ReferencePolicy:
    chosen = replace(spec, reference=name, reference_kwargs=kwargs)
    return ReferencePolicy(lambda: build_reference(chosen, folder))


def _best_variant(spec: EnvironmentSpec, folder: str | Path, name: str, deadline: float) -> dict[str, Any]:
    """The parameters that did best in a few episodes, the first of equals."""
    env = make(spec)
    variants = policy_of(spec.name, name).variants(env)
    env.close()
    if len(variants) == 1:
        return variants[0]

    def value(kwargs: dict[str, Any]) -> float:
        try:
            policy = _policy(spec, folder, name, kwargs)
            return _play(spec, policy, PILOT_EPISODES, SELECTION_SEED, deadline)["mean"]
        except OutOfTime:
            raise
        except LDMError:  # this one does not come to an end, say
            return -math.inf

    values = [value(kwargs) for kwargs in variants]
    return variants[values.index(max(values))]


def _good(record: Record, threshold: float | None) -> bool:
    """Whether the best attempt beats random and is a method made for its environment, or solves it by the library's own threshold."""
    best = record.best
    if best is None or best.score is None or not record.beats_random:
        return False
    return best.reference not in LAST_RESORTS or (threshold is not None and best.score["mean"] >= threshold)
