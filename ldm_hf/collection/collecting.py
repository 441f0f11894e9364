"""Collects trajectories: roll-outs of reference policies or of a model, with the reference's action as label of every step.

Behaviour cloning from clean roll-outs alone falls apart as soon as the model leaves their path (Ross et al. 2011). So either other actions are
executed for short whiles, or the model that is to learn acts itself, while the label stays what the reference would have done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import gymnasium
from tqdm.auto import tqdm

from ..agent import loaded_model, make_agent
from ..environments import EnvironmentSpec, make
from ..environments.isolation import IsolatedEnv
from ..errors import LDMError
from ..references import Reference, known_scores, load_reference
from ..rollouts import HELD_OUT_SEED, RandomPolicy, ReferencePolicy, measurement, normalised_score, rollout
from ..spaces import space_to_json
from ..trajectories import EnvironmentInfo, TrajectoryWriter, write_readme
from ..trajectories.writer import stored
from ..utils.installed import versions
from ..utils.parallel import report, run_tasks
from .actors import BURST, LADDER, Perturbed, Student
from .recording import Actor, LabelledLane, record

SCORE_EPISODES = 20
LANES = 8  # where one call acts in several environments: a learned reference, a model
FLUSH_SECONDS = 300.0  # what is lost at most if the process is ended
SILENT_SECONDS = 1800.0  # a process that ends no episode for so long is taken to hang
local_executor = partial(run_tasks, silence=SILENT_SECONDS)


@dataclass(frozen=True)
class Plan:
    """What to collect of every environment.

    Args:
        folder: of the dataset.
        references_folder: of the policies trained by reinforcement learning.
        steps: of every environment; a row of the catalogue may ask for fewer of a slow one.
        seed: of the first episode; perturbations follow from it, too.
        student: folder or Hub id of a model that acts instead of the reference, None for the reference.
        mix: probability that the reference acts in place of the student in a step.
    """

    folder: str
    references_folder: str = "outputs/references"
    steps: int = 20_000
    seed: int = 0
    student: str | None = None
    mix: float = 0.5

    def steps_of(self, spec: EnvironmentSpec) -> int:
        """Steps to collect of an environment."""
        return min(self.steps, spec.max_steps or self.steps)

    def missing(self, spec: EnvironmentSpec) -> int:
        """Steps of an environment that are not on the disk yet.

        Raises:
            DatasetError: if a shard is damaged.
        """
        return max(0, self.steps_of(spec) - stored(Path(self.folder) / spec.name)[1])


class Executor(Protocol):
    """What calls the same function for many environments, as `parallel.run_tasks` does."""

    def __call__(
        self,
        function: Callable[..., Any],
        tasks: dict[str, tuple],
        jobs: int,
        on_progress: Callable[[int], Any],
    ) -> Iterator[tuple[str, Any | LDMError]]: ...


def collect(
    specs: list[EnvironmentSpec],
    plan: Plan,
    jobs: int = 1,
    progress: bool = True,
    executor: Executor = local_executor,
) -> dict[str, LDMError]:
    """Collects every environment, several at a time; continues what was interrupted.

    Args:
        specs: rows of the catalogue.
        plan: how much, from what, where to.
        jobs: processes.
        progress: show a bar that counts steps.
        executor: runs the processes.

    Returns:
        Errors by environment; what was collected before an error is kept.
    """
    loaded_model.cache_clear()  # the folder of the student may hold another model than at the last call
    tasks = {spec.name: (spec, plan) for spec in specs}
    total = sum(plan.steps_of(spec) for spec in specs)
    failures = {}
    with tqdm(total=total, desc="collect", unit=" steps", unit_scale=True, disable=not progress) as bar:
        for done, (name, outcome) in enumerate(executor(collect_environment, tasks, jobs, bar.update), 1):
            if isinstance(outcome, LDMError):
                failures[name] = outcome
            bar.set_postfix(environments=f"{done}/{len(specs)}", failed=len(failures))
    write_readme(plan.folder)
    return failures


def collect_environment(
    spec: EnvironmentSpec, plan: Plan, make_reference: Callable[[], Reference] | None = None
) -> EnvironmentInfo:
    """Collects one environment.

    Args:
        spec: row of the catalogue, or one made for the occasion.
        plan: how much, where to.
        make_reference: makes the reference policy; by default the one that the row names.

    Returns:
        What was written into ``environment.json``.

    Raises:
        EnvironmentFailure: if the environment raises an error.
        LDMError: if the reference is no better than random actions.
        CheckpointError: if there is no usable student.
        DatasetError: if the disk is full, or the folder has data of other spaces.
    """
    folder, target = Path(plan.folder) / spec.name, plan.steps_of(spec)
    episodes, steps = stored(folder)
    report(min(steps, target))
    if steps >= target:
        return EnvironmentInfo.load(folder)
    # a folder that is continued has its scores already
    known = EnvironmentInfo.load(folder) if episodes else None
    scores = known.scores if known else None
    if make_reference is None:
        scores = scores or known_scores(spec, plan.references_folder)
        make_reference = partial(load_reference, spec, plan.references_folder)
    scores = scores or _scores(spec, make_reference)
    normalised_score(0, scores["random"]["mean"], scores["reference"]["mean"], spec.name)  # there is a scale
    lanes = open_lanes(spec, make_reference, several=plan.student is not None)
    try:
        info = describe(spec, lanes[0], plan, scores, known)
        actor = actor_of(spec, plan, lanes)
        with TrajectoryWriter(plan.folder, info) as writer:
            written = time.monotonic()
            for episode in record(lanes, actor, plan.seed + episodes, target - steps):
                writer.write(episode)
                if time.monotonic() - written > FLUSH_SECONDS:
                    writer.flush()
                    written = time.monotonic()
                length = len(episode["reward"])
                report(min(length, max(0, target - steps)))
                steps += length
    finally:
        for lane in lanes:
            lane.env.close()
    return info


def record_episode(
    env: gymnasium.Env, reference: Reference, seed: int, share: float, name: str = "environment"
) -> dict[str, Any]:
    """Plays one episode.

    Args:
        env: the environment.
        reference: labels every step, and acts unless a foreign action is due.
        seed: of the episode and its perturbations.
        share: of foreign actions.
        name: of the environment, for messages.

    Returns:
        As `TrajectoryWriter.write` takes it.
    """
    return next(record([LabelledLane(env, reference, name)], Perturbed((share,)), seed, target=1))


def open_lanes(spec: EnvironmentSpec, make_reference: Callable[[], Reference], several: bool) -> list[LabelledLane]:
    """Environments to record in, with their references: several if one call acts in all of them, or labels all of them."""
    reference = make_reference()
    lanes: list[LabelledLane] = []
    try:
        for index in range(LANES if several or reference.vectorised else 1):
            own = reference if index == 0 or reference.vectorised else make_reference()
            lanes.append(LabelledLane(make(spec), own, spec.name))
    except BaseException:
        for lane in lanes:
            lane.env.close()
        raise
    return lanes


def actor_of(spec: EnvironmentSpec, plan: Plan, lanes: list[LabelledLane]) -> Actor:
    """Who acts.

    Raises:
        CheckpointError: if there is no usable student.
    """
    if plan.student is None:
        return Perturbed(LADDER, plan.seed)
    model, processor = loaded_model(plan.student)
    env = lanes[0].env
    spaces = env.observation_space, env.action_space
    return Student(make_agent(model, processor, spec.name, spec.task or None, spaces, num_envs=len(lanes)), plan.mix)


def _scores(spec: EnvironmentSpec, make_reference: Callable[[], Reference]) -> dict[str, dict[str, Any]]:
    """Random and reference on held-out seeds, as `evaluate` measures them."""
    reference = make_reference()  # before anything else: where it has to be trained first, nothing is measured in vain
    scores = {}
    for label, policy in (("random", RandomPolicy()), ("reference", ReferencePolicy(lambda: reference))):
        episodes = max(SCORE_EPISODES, spec.episodes)
        returns = rollout(lambda: make(spec), policy, episodes, HELD_OUT_SEED, num_envs=1, name=spec.name)
        scores[label] = measurement(returns, HELD_OUT_SEED)
    return scores


def describe(
    spec: EnvironmentSpec,
    lane: LabelledLane,
    plan: Plan,
    scores: dict[str, dict[str, Any]],
    known: EnvironmentInfo | None,
) -> EnvironmentInfo:
    """What ``environment.json`` says: of a folder that is continued, also who has acted in it before."""
    env = lane.env
    collection = (known.collection if known else {}) | {"seed": plan.seed}
    if plan.student is None:
        collection |= {"foreign_actions": list(LADDER), "mean_burst": BURST}
    else:
        student = {"model": plan.student, "mix": plan.mix}
        others = [other for other in collection.get("students", []) if other != student]
        collection["students"] = [*others, student]
    isolated = env.unwrapped.versions if isinstance(env.unwrapped, IsolatedEnv) else {}
    return EnvironmentInfo(
        name=spec.name,
        env_id=spec.env_id,
        observation_space=space_to_json(env.observation_space),
        action_space=space_to_json(env.action_space),
        kwargs=spec.kwargs,
        library=spec.library,
        version=spec.version,
        licence=spec.licence,
        domain=spec.domain,
        task=spec.task,
        reference=lane.reference.method,
        scores=scores,
        collection=collection,
        versions=versions() | {f"isolated {package}": version for package, version in isolated.items()},
    )
