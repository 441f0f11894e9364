"""Collects trajectories: roll-outs of reference policies, clean and perturbed, with the reference's action as label of every step.

Behaviour cloning from clean roll-outs alone falls apart as soon as the model leaves their path (Ross et al. 2011). So in most episodes other
actions are executed for short whiles, while the label stays what the reference would have done (noise injection, Laskey et al. 2017).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from tqdm.auto import tqdm

from .environments import EnvironmentSpec, make
from .errors import EnvironmentFailure, LDMError
from .evaluation import HELD_OUT_SEED, RandomPolicy, ReferencePolicy, measurement, normalised_score, rollout
from .parallel import report, run_tasks
from .references import Reference, load_reference
from .spaces import flatten, leaves, space_to_json, stack, unflatten
from .trajectories import EnvironmentInfo, TrajectoryWriter, write_readme
from .trajectories.writer import stored
from .versions import versions

LADDER = (0.0, 0.1, 0.3)  # share of foreign actions, one rung an episode in turn
BURST = 3  # mean number of steps that a foreign action is repeated for: single ones hardly leave the path
SCORE_EPISODES = 20


@dataclass(frozen=True)
class Plan:
    """What to collect of every environment.

    Args:
        folder: of the dataset.
        references_folder: of the policies trained by reinforcement learning.
        steps: of every environment; a row of the catalogue may ask for fewer of a slow one.
        seed: of the first episode; perturbations follow from it, too.
    """

    folder: str
    references_folder: str = "outputs/references"
    steps: int = 20_000
    seed: int = 0

    def steps_of(self, spec: EnvironmentSpec) -> int:
        """Steps to collect of an environment."""
        return min(self.steps, spec.max_steps or self.steps)


def collect(specs: list[EnvironmentSpec], plan: Plan, jobs: int = 1, progress: bool = True) -> dict[str, LDMError]:
    """Collects every environment, several at a time; continues what was interrupted.

    Args:
        specs: rows of the catalogue.
        plan: how much, from what, where to.
        jobs: processes.
        progress: show a bar that counts steps.

    Returns:
        Errors by environment; what was collected before an error is kept.
    """
    tasks = {spec.name: (spec, plan) for spec in specs}
    total = sum(plan.steps_of(spec) for spec in specs)
    failures = {}
    with tqdm(total=total, desc="collect", unit=" steps", unit_scale=True, disable=not progress) as bar:
        for done, (name, outcome) in enumerate(run_tasks(collect_environment, tasks, jobs, bar.update), 1):
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
        DatasetError: if the disk is full, or the folder has data of other spaces.
    """
    folder, target = Path(plan.folder) / spec.name, plan.steps_of(spec)
    episode, steps = stored(folder)
    report(min(steps, target))
    if steps >= target:
        return EnvironmentInfo.load(folder)
    make_reference = make_reference or (lambda: load_reference(spec, plan.references_folder))
    env, reference = make(spec), make_reference()
    try:
        # a folder that is continued has its scores already
        scores = EnvironmentInfo.load(folder).scores if episode else _scores(spec, make_reference)
        info = _describe(spec, env, plan, reference.method, scores)
        with TrajectoryWriter(plan.folder, info) as writer:
            while steps < target:
                share = LADDER[episode % len(LADDER)]
                recorded = record_episode(env, reference, plan.seed + episode, share, spec.name)
                writer.write(recorded | {"behaviour": f"perturbed-{share}" if share else "clean"})
                length = len(recorded["reward"])
                report(min(length, target - steps))
                steps, episode = steps + length, episode + 1
    finally:
        env.close()
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
    rng = np.random.default_rng((seed, 1))
    observations, actions, labels, rewards = [], [], [], []
    terminated = truncated = False
    foreign, remaining = None, 0
    call = "reset"
    try:
        observation, info = env.reset(seed=seed)
        env.action_space.seed(
            int(rng.integers(2**31))
        )  # after the reset: some environments make their spaces anew in it
        reference.reset(env)
        while not (terminated or truncated):
            call = "its reference policy"
            label = reference.act(env, observation, info)
            if remaining == 0 and rng.random() < share / BURST:
                foreign, remaining = env.action_space.sample(), int(rng.geometric(1 / BURST))
            action = foreign if remaining else _jitter(env.action_space, label, share, rng)
            remaining = max(remaining - 1, 0)
            if action is not label:
                reference.executed(action)
            # copies, since an environment may write what comes next into the same arrays
            observations.append(copy.deepcopy(observation))
            actions.append(copy.deepcopy(action))
            labels.append(copy.deepcopy(label))
            call = "step"
            observation, reward, terminated, truncated, info = env.step(action)
            rewards.append(float(reward))
    except LDMError:
        raise
    except Exception as error:
        raise EnvironmentFailure(name, f"{call} (episode of seed {seed})", error) from error
    ends = np.zeros((2, len(rewards)), bool)
    ends[:, -1] = terminated, truncated
    return {
        "observation": stack(env.observation_space, observations),
        "action": stack(env.action_space, actions),
        "label": stack(env.action_space, labels),
        "reward": np.array(rewards, np.float32),
        "terminated": ends[0],
        "truncated": ends[1],
        "seed": seed,
    }


def _jitter(space: gymnasium.Space, action: Any, scale: float, rng: np.random.Generator) -> Any:
    """Adds noise to the bounded real numbers in an action, ``scale`` of their half range; an action without any stays the same object."""
    if not scale:
        return action
    parts, changed = flatten(space, action), False
    for leaf in leaves(space):
        box = leaf.space
        if isinstance(box, spaces.Box) and np.issubdtype(box.dtype, np.floating) and box.is_bounded():
            noise = rng.normal(0, scale / 2, box.shape) * (box.high - box.low)
            parts[leaf.path] = np.clip(parts[leaf.path] + noise, box.low, box.high).astype(box.dtype)
            changed = True
    return unflatten(space, parts) if changed else action


def _scores(spec: EnvironmentSpec, make_reference: Callable[[], Reference]) -> dict[str, dict[str, Any]]:
    """Random and reference on held-out seeds, as `evaluate` measures them.

    Raises:
        LDMError: if the reference is no better than random.
    """
    scores = {}
    for label, policy in (("random", RandomPolicy()), ("reference", ReferencePolicy(make_reference))):
        episodes = max(SCORE_EPISODES, spec.episodes)
        returns = rollout(lambda: make(spec), policy, episodes, HELD_OUT_SEED, num_envs=1, name=spec.name)
        scores[label] = measurement(returns, HELD_OUT_SEED)
    normalised_score(0, scores["random"]["mean"], scores["reference"]["mean"], spec.name)
    return scores


def _describe(
    spec: EnvironmentSpec, env: gymnasium.Env, plan: Plan, method: str, scores: dict[str, dict[str, Any]]
) -> EnvironmentInfo:
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
        reference=method,
        scores=scores,
        collection={"seed": plan.seed, "foreign_actions": list(LADDER), "mean_burst": BURST},
        versions=versions(),
    )
