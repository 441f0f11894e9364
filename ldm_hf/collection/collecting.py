"""Collects trajectories: a reference policy or a model acts, and the reference's action is the label of every step.

Behaviour cloning from clean roll-outs alone falls apart as soon as the model leaves their path (Ross et al. 2011). So
either other actions are executed for short whiles, or the model that is to learn acts itself, while the label stays
what the reference would have done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from tqdm.auto import tqdm

from ..agent import loaded_model, make_agent
from ..environments import EnvironmentSpec, make
from ..environments.isolation import IsolatedEnv
from ..errors import DatasetError, EnvironmentFailure, LDMError
from ..references import Reference, known_scores, load_reference
from ..rollouts import HELD_OUT_SEED, RandomPolicy, ReferencePolicy, measurement, normalised_score, rollout
from ..rollouts.returns import Scores
from ..spaces import space_to_json
from ..trajectories import EnvironmentInfo, TrajectoryWriter, write_readme
from ..trajectories.writer import stored
from ..utils.files import check_writable
from ..utils.installed import versions
from ..utils.parallel import SILENT_SECONDS, Executor, report, run_tasks
from .actors import BURST, LADDER, Perturbed, Student, improving
from .journal import Journal, has_journal, recover
from .keeping import Keeper, left_out, next_seed, note_failure
from .recording import RECORDING, Actor, LabelledLane, record

SCORE_EPISODES = 20
LANES = 8  # environments where one call acts in several of them: a learned reference, a model
Result = TypeVar("Result")


@dataclass(frozen=True)
class Plan:
    """How much to collect in every environment, and who acts.

    Args:
        folder: folder of the dataset.
        references_folder: folder of the policies trained by reinforcement learning.
        steps: steps to collect in every environment; a row of the catalogue may ask for fewer in a slow one.
        seed: seed of the first episode; perturbations follow from it, too.
        student: folder or Hub id of a model that acts instead of the reference; None for the reference.
        mix: probability that the reference acts in place of the student in a step.
        student_folder: where the student is, if not there.
        targets: steps to collect in single environments instead, by name.
        improving: episodes within which the behaviour improves, again and again, from random actions (or the student
            alone) to the reference; 0: the usual mixture.
        seconds: time to record in one environment, after which no other episode is begun; None: until it has all steps.
    """

    folder: str
    references_folder: str = "outputs/references"
    steps: int = 20_000
    seed: int = 0
    student: str | None = None
    mix: float = 0.5
    student_folder: str | None = None
    targets: Mapping[str, int] = field(default_factory=dict)
    improving: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.improving < 0 or self.improving == 1:
            raise LDMError(
                f"improving is {self.improving}; a behaviour improves within 2 episodes or more, or 0: never"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of foreign actions, one an episode in turn."""
        return improving(self.improving) if self.improving else LADDER

    @property
    def mixes(self) -> tuple[float, ...]:
        """Shares of the reference beside a student, one an episode in turn."""
        return tuple(round(1 - share, 3) for share in self.shares) if self.improving else (self.mix,)

    def absolute(self) -> Plan:
        """The plan with folders that do not depend on the working directory."""
        folder, references = (str(Path(place).absolute()) for place in (self.folder, self.references_folder))
        return replace(self, folder=folder, references_folder=references)

    @property
    def shared(self) -> dict[str, str]:
        """What all environments read, see `parallel.run_tasks`."""
        return {} if self.student is None else {"student": self.student}

    @property
    def own(self) -> dict[str, str]:
        """Where each environment has a sub-folder of its own."""
        return {"folder": self.folder, "references": self.references_folder}

    def steps_of(self, spec: EnvironmentSpec) -> int:
        """Number of steps to collect in an environment."""
        return self.targets.get(spec.name, min(self.steps, spec.max_steps or self.steps))

    def missing(self, spec: EnvironmentSpec) -> int:
        """Number of steps of an environment that are not on the disk yet.

        Raises:
            DatasetError: if a shard is damaged.
        """
        return max(0, self.steps_of(spec) - stored(Path(self.folder) / spec.name)[1])

    def complete(self, spec: EnvironmentSpec) -> bool:
        """Whether nothing is left to do in an environment."""
        folder = Path(self.folder) / spec.name
        try:
            return not self.missing(spec) and not has_journal(folder) and bool(EnvironmentInfo.load(folder))
        except DatasetError:  # its task will say what is damaged
            return False


def collect(
    specs: list[EnvironmentSpec],
    plan: Plan,
    jobs: int = 1,
    progress: bool = True,
    executor: Executor = run_tasks,
) -> dict[str, LDMError]:
    """Collects in every environment, several at a time; continues what was interrupted.

    Nothing that an environment does stops the others, and the episodes that it has finished are kept. An episode in
    which it fails in two calls is left out from then on.

    Args:
        specs: rows of the catalogue.
        plan: what to collect, and where to write it.
        jobs: number of processes.
        progress: show a bar that counts steps.
        executor: runs the processes, here or in a cluster.

    Returns:
        Errors by environment; what was collected before an error is kept.

    Raises:
        UnwritableError: if the folder of the dataset cannot be written.
    """
    check_writable(Path(plan.folder) / "README.md")  # before anything is collected
    loaded_model.cache_clear()  # the folder of the student may hold another model than at the last call
    due = [spec for spec in specs if not plan.complete(spec)]
    tasks = {spec.name: (spec, plan) for spec in due}
    total, complete = sum(plan.steps_of(spec) for spec in specs), len(specs) - len(due)
    failures = {}
    with tqdm(total=total, desc="collect", unit=" steps", unit_scale=True, disable=not progress) as bar:
        bar.update(total - sum(plan.steps_of(spec) for spec in due))
        work = partial(with_folders, collect_environment)
        outcomes = executor(work, tasks, jobs, bar.update, silence=SILENT_SECONDS, shared=plan.shared, own=plan.own)
        for done, (name, outcome) in enumerate(outcomes, complete + 1):
            if isinstance(outcome, LDMError):
                failures[name] = outcome
                try:
                    note_failure(Path(plan.folder) / name, outcome)
                except LDMError as error:  # what it had recorded cannot be kept
                    failures[name] = error
            bar.set_postfix(environments=f"{done}/{len(specs)}", failed=len(failures))
    write_readme(plan.folder)
    return failures


def with_folders(
    work: Callable[[EnvironmentSpec, Plan], Result],
    spec: EnvironmentSpec,
    plan: Plan,
    folder: str,
    references: str,
    student: str | None = None,
) -> Result:
    """Calls ``work(spec, plan)`` with the plan's folders where a task finds them, see `Plan.own` and `Plan.shared`."""
    return work(spec, replace(plan, folder=folder, references_folder=references, student_folder=student))


def collect_environment(
    spec: EnvironmentSpec, plan: Plan, make_reference: Callable[[], Reference] | None = None
) -> EnvironmentInfo:
    """Collects in one environment.

    Args:
        spec: row of the catalogue, or one that is not in it.
        plan: what to collect, and where to write it.
        make_reference: makes the reference policy; by default the one that the row names.

    Returns:
        What was written into ``environment.json``.

    Raises:
        EnvironmentFailure: if the environment raises an error, or gives what is outside its spaces.
        LDMError: if the reference is no better than random actions.
        CheckpointError: if there is no usable student.
        DatasetError: if the disk is full, or the folder has data of other spaces.
    """
    plan = plan.absolute()  # an environment may change the working directory
    folder, target = Path(plan.folder) / spec.name, plan.steps_of(spec)
    recover(folder)
    episodes, steps = stored(folder)
    report(min(steps, target))
    if steps >= target:
        return EnvironmentInfo.load(folder)
    # a folder that is continued has scores already
    known = EnvironmentInfo.load(folder) if episodes else None
    scores = known.scores if known else None
    if make_reference is None:
        scores = scores or known_scores(spec, plan.references_folder)
        make_reference = partial(load_reference, spec, plan.references_folder)
    scores = scores or _scores(spec, make_reference)
    normalised_score(0, scores["random"]["mean"], scores["reference"]["mean"], spec.name)  # there is a scale
    if plan.student is not None:
        loaded_model(plan.student_folder or plan.student)  # before an environment may change the working directory
    lanes = open_lanes(spec, make_reference, several=plan.student is not None)
    try:
        with Journal(folder) as journal:
            info = environment_info(spec, lanes[0], plan, scores, known, skipped := left_out(folder))
            with TrajectoryWriter(plan.folder, info) as writer:
                episodes, steps = stored(folder)  # again: another process may have collected in the meantime
                seed = next_seed(plan.seed, episodes, skipped)
                began = time.monotonic()
                with Keeper(writer, journal, episodes) as keeper:
                    for episode in record(lanes, actor_of(spec, plan, lanes), seed, target - steps, skipped):
                        keeper.add(episode)
                        length = len(episode["reward"])
                        report(min(length, max(0, target - steps)))
                        steps += length
                        if plan.seconds is not None and time.monotonic() - began > plan.seconds:
                            report(max(0, target - steps))
                            break
    except EnvironmentFailure as failure:
        failure.doing = RECORDING
        raise
    finally:
        for lane in lanes:
            lane.close()
    return info


def open_lanes(spec: EnvironmentSpec, make_reference: Callable[[], Reference], several: bool) -> list[LabelledLane]:
    """Makes the environments to record in, each with its reference policy.

    Args:
        spec: row of the catalogue.
        make_reference: makes the reference policy.
        several: make `LANES` of them, since one call acts in all; also where one call of the reference labels all.
    """
    first = make_reference()
    lanes: list[LabelledLane] = []
    try:
        for index in range(LANES if several or first.vectorised else 1):
            reference = first if index == 0 or first.vectorised else make_reference()
            lanes.append(LabelledLane(make(spec), reference, spec.name))
    except BaseException:
        for lane in lanes:
            lane.close()
        raise
    return lanes


def actor_of(spec: EnvironmentSpec, plan: Plan, lanes: list[LabelledLane]) -> Actor:
    """The actor of a plan: the disturbed reference, or its student.

    Raises:
        CheckpointError: if there is no usable student.
    """
    if plan.student is None:
        return Perturbed(plan.shares, plan.seed)
    model, processor = loaded_model(plan.student_folder or plan.student)
    env = lanes[0].env
    spaces = env.observation_space, env.action_space
    agent = make_agent(model, processor, spec.name, spec.task or None, spaces, num_envs=len(lanes))
    return Student(agent, plan.mixes, plan.seed)


def _scores(spec: EnvironmentSpec, make_reference: Callable[[], Reference]) -> Scores:
    """Measures random actions and the reference on held-out seeds, as `evaluate` does."""
    reference = make_reference()  # first: if it has yet to be trained, nothing is measured in vain
    scores: Scores = {}
    for label, policy in (("random", RandomPolicy()), ("reference", ReferencePolicy(lambda: reference))):
        episodes = max(SCORE_EPISODES, spec.episodes)
        returns = rollout(lambda: make(spec), policy, episodes, HELD_OUT_SEED, num_envs=1, name=spec.name)
        scores[label] = measurement(returns, HELD_OUT_SEED)
    return scores


def environment_info(
    spec: EnvironmentSpec,
    lane: LabelledLane,
    plan: Plan,
    scores: Scores,
    known: EnvironmentInfo | None,
    skipped: Sequence[int] = (),
) -> EnvironmentInfo:
    """The content of ``environment.json``.

    Args:
        spec: row of the catalogue.
        lane: one of the environments to record in.
        plan: what is collected.
        scores: mean returns of random actions and of the reference.
        known: what a folder that is continued says; students that acted before stay listed.
        skipped: seeds of episodes that are left out.
    """
    env = lane.env
    collection = (known.collection if known else {}) | {"seed": plan.seed}
    if skipped:
        collection["left_out"] = list(skipped)
    if plan.student is None:
        collection |= {"foreign_actions": list(plan.shares), "mean_burst": BURST}
    else:
        student = {"model": plan.student, "mix": list(plan.mixes) if plan.improving else plan.mix}
        others = [other for other in collection.get("students", []) if other != student]
        collection["students"] = [*others, student]
    isolated = env.unwrapped.versions if isinstance(env.unwrapped, IsolatedEnv) else {}
    return EnvironmentInfo(
        **spec.facts(),
        observation_space=space_to_json(env.observation_space),
        action_space=space_to_json(env.action_space),
        reference=lane.reference.method,
        scores=scores,
        collection=collection,
        versions=versions() | {f"isolated {package}": version for package, version in isolated.items()},
    )
