"""Finds a reference policy for every environment: tries what fits in order of cost, measures it, keeps the best."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from tqdm.auto import tqdm

from ..environments import EnvironmentSpec, make
from ..environments.building import Kwargs
from ..environments.making import opened
from ..errors import EnvironmentFailure, LDMError
from ..rollouts import HELD_OUT_SEED, Policy, RandomPolicy, ReferencePolicy, measurement, rollout
from ..rollouts.returns import SELECTION_SEED, Measurement, half_width
from ..spaces import Action, Info, Observation
from ..utils.guarding import INTERRUPTS
from ..utils.parallel import Executor, note, run_tasks
from .base import METHODS, Reference
from .learned.algorithms import check_algorithm
from .learned.policy import training_record
from .learned.training import train_reference
from .loading import build_reference, known_policies, policy_of
from .records import Attempt, Record, TrainingRecord
from .tuning import tune

logger = logging.getLogger(__name__)

EPISODES = 50  # episodes of a measurement, unless its time is over before
FEWEST_EPISODES = 5  # with fewer, there is no measurement
RANDOM_SHARE = 0.25  # of the budget, at most, for random actions: in some games they take hours
PILOT_EPISODES = 5  # episodes that choose parameters, on other seeds
TUNING_EPISODES = 8  # episodes that tune numbers, at most
TUNING_SHARE = 0.75  # of the time that is left, at most, for tuning: what was found is to be measured, too
SHORTEST_TRAINING = 30.0  # seconds; less time teaches nothing
LONGEST_EPISODE = 100_000  # steps; random actions take 35,000 in CliffWalking-v1, some policies would never finish
LAST_RESORTS = ("constant", "gait", "rl")  # tried wherever possible; never good enough by themselves


class OutOfTime(LDMError):
    """A measurement that takes longer than the budget allows."""


class EpisodeLimits(gymnasium.Wrapper):
    """Raises an error when an episode does not end, or when the time is over; keeps the returns until then.

    Args:
        env: environment to watch.
        name: name of the environment, for messages.
        deadline: time of the monotonic clock when the budget is spent.

    Attributes:
        returns: undiscounted returns of the episodes that have ended.

    Raises:
        EnvironmentFailure: by `step`, after `LONGEST_EPISODE` steps.
        OutOfTime: by `step`, after the deadline.
    """

    def __init__(self, env: gymnasium.Env, name: str, deadline: float) -> None:
        super().__init__(env)
        self.name, self.deadline, self.steps = name, deadline, 0
        self.total, self.returns = 0.0, list[float]()

    def reset(self, **kwargs: Any) -> tuple[Observation, Info]:
        self.steps, self.total = 0, 0.0
        return self.env.reset(**kwargs)

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, Info]:
        self.steps += 1
        if self.steps > LONGEST_EPISODE:
            raise EnvironmentFailure(self.name, "step", f"the episode has not ended after {LONGEST_EPISODE:,} steps")
        if time.monotonic() > self.deadline:
            raise OutOfTime(f"{self.name}: its episodes take longer than the budget; allow more (--budget)")
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        if terminated or truncated:
            self.returns.append(self.total)
        return observation, reward, terminated, truncated, info


def measure(
    spec: EnvironmentSpec, policy: Policy, deadline: float = math.inf, episodes: int | None = None
) -> Measurement:
    """Measures the mean return of a policy with its 95 % interval, on held-out seeds.

    When the time is over, the episodes that have ended by then count, if they are at least `FEWEST_EPISODES`.

    Args:
        spec: row of the catalogue.
        policy: policy to measure.
        deadline: time of the monotonic clock when the budget is spent.
        episodes: episodes to play, by default `EPISODES`; a row of the catalogue may ask for more.

    Returns:
        The measurement, without the single returns.

    Raises:
        OutOfTime: after the deadline.
        EnvironmentFailure: if the environment raises an error, or an episode does not end.
    """
    wanted = EPISODES if episodes is None else episodes
    return _play(spec, policy, max(wanted, spec.episodes), HELD_OUT_SEED, deadline)


def _play(spec: EnvironmentSpec, policy: Policy, episodes: int, seed: int, deadline: float) -> Measurement:
    made: list[EpisodeLimits] = []

    def make_limited() -> gymnasium.Env:
        made.append(EpisodeLimits(make(spec), spec.name, deadline))
        return made[-1]

    try:
        returns = rollout(make_limited, policy, episodes, seed, num_envs=1, name=spec.name)
    except OutOfTime:
        returns = np.array(made[0].returns)
        if len(returns) < FEWEST_EPISODES:
            raise
    found = measurement(returns, seed)
    del found["returns"]
    return found | {"ci": half_width(returns)}


def candidates(spec: EnvironmentSpec, env: gymnasium.Env) -> list[str]:
    """Names of the policies to try, in this order.

    First what the row names, then what fits in order of increasing cost, then a constant action, an open-loop gait, and
    learning.
    """
    policies = known_policies()
    fitting = [name for name, policy in policies.items() if name not in LAST_RESORTS and policy.fits(env)]
    fitting.sort(key=lambda name: METHODS.index(policies[name].method))
    last = [name for name in LAST_RESORTS if name == "rl" or policies[name].fits(env)]
    named = [spec.reference] if spec.reference not in (None, *LAST_RESORTS) else []
    return list(dict.fromkeys([*named, *fitting, *last]))


def find_reference(
    spec: EnvironmentSpec,
    folder: str | Path,
    budget: float = 1800.0,
    seed: int = 0,
    force: bool = False,
    tuned: bool = False,
    learning: Kwargs | None = None,
) -> Record:
    """Finds the reference policy of one environment; continues an interrupted search.

    Args:
        spec: row of the catalogue.
        folder: folder of all policies; the record and a trained policy go into a sub-folder.
        budget: seconds. Learning gets what is left; measuring what was learned comes on top.
        seed: seed of the training.
        force: forget what was tried before.
        tuned: search for the parameters of policies that have some to be tuned.
        learning: settings of learning, as a row's ``reference_kwargs`` of ``rl`` are; see `train_reference`.

    Returns:
        The record, which is in the sub-folder, too.

    Raises:
        EnvironmentFailure: if the environment cannot be measured at all.
        OutOfTime: if a few episodes of random actions take longer than their share of the budget.
    """
    folder = Path(folder).absolute()  # an environment may change the working directory
    place = folder / spec.name
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
        record.random = measure(spec, RandomPolicy(), started + RANDOM_SHARE * budget)
        save()
    with opened(spec) as env:
        todo, threshold = candidates(spec, env), getattr(env.spec, "reward_threshold", None)
    for name in todo:
        if record.good or record.tried(name):
            continue
        if name == "rl" and deadline - time.monotonic() < SHORTEST_TRAINING and training_record(place) is None:
            continue  # not tried: a larger budget may
        note(name)
        try:
            train = partial(train_reference, spec, folder, seed=seed, force=force, learning=learning)
            record.attempts.append(_attempt(spec, folder, name, deadline, train))
            if tuned and name != "rl" and _has_numbers(policy_of(spec.name, name)):
                record.attempts.append(_attempt(spec, folder, name, deadline, train, tuned))
        except OutOfTime as error:  # the same
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
    tuned: bool = False,
    learning: Kwargs | None = None,
    executor: Executor = run_tasks,
) -> dict[str, LDMError]:
    """Finds the references of many environments, those that need no training first; see `find_reference`.

    Args:
        specs: rows of the catalogue.
        folder: folder of all policies.
        budget: seconds for each environment.
        jobs: number of processes.
        seed: seed of the training.
        force: forget what was tried before.
        limit: seconds after which an environment is taken to hang and is ended; with a limit, all environments run in
            other processes.
        on_record: function that receives every record when it is finished.
        tuned: search for the parameters of policies that have some to be tuned.
        learning: settings of learning, as a row's ``reference_kwargs`` of ``rl`` are; see `train_reference`.
        executor: runs the processes, here or in a cluster.

    Returns:
        Errors by the name of the environment; an error does not stop the others.

    Raises:
        LDMError: if there is no such ``algorithm`` in ``learning``, or its library is not installed.
    """
    if learning and "algorithm" in learning:
        check_algorithm(learning["algorithm"])
    ordered = sorted(specs, key=lambda spec: (spec.reference == "rl", spec.reference is None))
    tasks = {spec.name: (spec,) for spec in ordered}
    search = partial(find_reference, budget=budget, seed=seed, force=force, tuned=tuned, learning=learning)
    failures: dict[str, LDMError] = {}
    better = 0
    with tqdm(total=len(tasks), desc="reference", unit="environment") as bar:
        for name, outcome in executor(search, tasks, jobs, limit=limit, own={"folder": str(folder)}):
            if isinstance(outcome, LDMError):
                failures[name] = outcome
                _bury(tasks[name][0], Path(folder), outcome)
            else:
                better += outcome.beats_random
                on_record(outcome)
            bar.update()
            bar.set_postfix(better_than_random=better, failed=len(failures))
    return failures


def _bury(spec: EnvironmentSpec, folder: Path, failure: LDMError) -> None:
    """Records a policy that ended its process, or did not end, as an attempt that failed: the next call goes on."""
    if not isinstance(failure, EnvironmentFailure) or failure.doing is None:
        return
    record = Record.open(spec, folder / spec.name)
    method = "rl" if failure.doing == "rl" else policy_of(spec.name, failure.doing).method
    record.attempts.append(Attempt(failure.doing, {}, method, error=str(failure)))
    record.save(folder / spec.name)


def _attempt(
    spec: EnvironmentSpec,
    folder: str | Path,
    name: str,
    deadline: float,
    train: Callable[..., TrainingRecord],
    tuned: bool = False,
) -> Attempt:
    """Makes or trains one policy and measures it; what goes wrong is part of the record."""
    started = time.monotonic()
    attempt = Attempt(name, {}, "rl" if name == "rl" else policy_of(spec.name, name).method)
    try:
        if name == "rl":
            attempt.training = train(budget=deadline - started)
            attempt.method = "distilled" if attempt.training["algorithm"] == "DISTILLED" else "rl"
            deadline = math.inf
        elif name == spec.reference and not tuned:
            attempt.kwargs = spec.reference_kwargs
        else:
            attempt.kwargs = _best_variant(spec, folder, name, deadline, tuned)
        attempt.score = measure(spec, _policy(spec, folder, name, attempt.kwargs), deadline)
    except OutOfTime:
        raise
    except INTERRUPTS:
        raise
    except BaseException as error:  # of a library, or of a policy for other environments: try the next
        attempt.error = str(error) if isinstance(error, LDMError) else f"{type(error).__name__}: {error}"
    attempt.seconds = round(time.monotonic() - started, 2)
    return attempt


def _policy(spec: EnvironmentSpec, folder: str | Path, name: str, kwargs: Kwargs) -> ReferencePolicy:
    chosen = replace(spec, reference=name, reference_kwargs=kwargs)
    return ReferencePolicy(lambda: build_reference(chosen, folder))


def _has_numbers(policy: type[Reference]) -> bool:
    """Whether a policy has parameters to be tuned."""
    return policy.tunable.__func__ is not Reference.tunable.__func__  # type: ignore[attr-defined]  # of a classmethod


def _best_variant(spec: EnvironmentSpec, folder: str | Path, name: str, deadline: float, tuned: bool) -> Kwargs:
    """The parameters with the highest mean return in a few episodes; of equal ones the first."""
    policy_class = policy_of(spec.name, name)
    with opened(spec) as env:
        variants, tunable = policy_class.variants(env), policy_class.tunable(env) if tuned else {}
    if len(variants) == 1 and not tunable:
        return variants[0]
    if tunable:
        start = spec.reference_kwargs if name == spec.reference else {}
        with opened(spec) as env:
            limited = EpisodeLimits(env, spec.name, deadline)
            now = time.monotonic()
            until = now + TUNING_SHARE * (deadline - now)
            returns_of = partial(_returns, limited, policy_class)
            found: Kwargs = tune(tunable, returns_of, policy_class.searches, start=start, until=until)
        return found

    def value(kwargs: Kwargs) -> float:
        try:
            policy = _policy(spec, folder, name, kwargs)
            return _play(spec, policy, PILOT_EPISODES, SELECTION_SEED, deadline)["mean"]
        except OutOfTime:
            raise
        except LDMError:  # for instance, its episodes do not end
            return -math.inf

    values = [value(kwargs) for kwargs in variants]
    return variants[values.index(max(values))]


def _returns(env: gymnasium.Env, policy_class: type[Reference], kwargs: Kwargs) -> Iterator[float]:
    """Returns of the episodes by which parameters are tuned, one after the other."""
    policy = policy_class(env, **kwargs)
    for seed in range(SELECTION_SEED, SELECTION_SEED + TUNING_EPISODES):
        observation, info = env.reset(seed=seed)
        policy.reset(env)
        total = 0.0
        for step in itertools.count():
            observation, reward, terminated, truncated, info = env.step(policy.act(env, observation, info))
            total += float(reward) * (2 if step < policy_class.twice else 1)
            if terminated or truncated:
                break
        yield total


def _good(record: Record, threshold: float | None) -> bool:
    """Whether the best attempt beats random, and is made for its environment or reaches the library's own threshold."""
    best = record.best
    if best is None or best.score is None or not record.beats_random:
        return False
    return best.reference not in LAST_RESORTS or (threshold is not None and best.score["mean"] >= threshold)
