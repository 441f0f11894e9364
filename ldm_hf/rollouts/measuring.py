"""Roll-outs with fixed seeds: `rollout` measures random actions, reference policies and agents alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from tqdm.auto import tqdm

from ..errors import EnvironmentFailure, LDMError, NonFiniteError
from ..spaces import stack, unflatten, unstack
from ..utils.parallel import report


@dataclass
class Lanes:
    """What ``N`` environments that run in lock step returned last.

    After the end of an episode, ``observations`` and ``infos`` are the first of the next episode while reward and
    flags are those of the step that ended the former (Gymnasium's ``AutoresetMode.SAME_STEP``).

    Attributes:
        envs: the environments.
        observations: one each.
        infos: one each.
        rewards: ``(N,)``.
        terminated: ``(N,)``.
        truncated: ``(N,)``.
        active: ``(N,)`` False for lanes that have played all their episodes; their actions are not used.
        stepped: False before the first step: rewards and flags say nothing yet.
    """

    envs: list[gymnasium.Env]
    observations: list[Any]
    infos: list[dict[str, Any]]
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    active: np.ndarray
    stepped: bool = False


class Policy(Protocol):
    """Whatever `rollout` can measure."""

    def start(self, envs: list[gymnasium.Env]) -> None:
        """A roll-out begins in these ``N`` environments."""

    def begin(self, lane: int, env: gymnasium.Env, observation: Any, info: dict[str, Any], seed: int) -> None:
        """An episode, reset with ``seed``, begins in a lane."""

    def act(self, lanes: Lanes) -> list[Any]:
        """Actions, ``N`` of them."""


class RandomPolicy:
    """Uniform samples of the action space, from the legal actions where ``info["action_mask"]`` tells them."""

    def start(self, envs: list[gymnasium.Env]) -> None: ...

    def begin(self, lane: int, env: gymnasium.Env, observation: Any, info: dict[str, Any], seed: int) -> None:
        # Not `seed` itself: the environment's own generator has it, and actions would follow its random numbers.
        env.action_space.seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))

    def act(self, lanes: Lanes) -> list[Any]:
        return [
            env.action_space.sample(_sampling_mask(env.action_space, info))
            for env, info in zip(lanes.envs, lanes.infos, strict=True)
        ]


class ReferencePolicy:
    """A task-specific reference policy, one object per lane since references may keep plans.

    Args:
        make_reference: makes an object with ``reset(env)`` and ``act(env, observation, info)``.
    """

    def __init__(self, make_reference: Callable[[], Any]) -> None:
        self.make_reference = make_reference

    def start(self, envs: list[gymnasium.Env]) -> None:
        self.references = [self.make_reference() for _ in envs]
        self.actions: list[Any] = [None] * len(envs)

    def begin(self, lane: int, env: gymnasium.Env, observation: Any, info: dict[str, Any], seed: int) -> None:
        self.references[lane].reset(env)

    def act(self, lanes: Lanes) -> list[Any]:
        for lane in np.flatnonzero(lanes.active):
            self.actions[lane] = self.references[lane].act(
                lanes.envs[lane], lanes.observations[lane], lanes.infos[lane]
            )
        return list(self.actions)


class AgentPolicy:
    """An `LDMAgent`, by one forward pass per step for all lanes. Its history goes on across the episodes of a lane.

    Args:
        make_agent: makes the agent from ``(observation_space, action_space)`` and the number of lanes.
    """

    def __init__(self, make_agent: Callable[[tuple[gymnasium.Space, gymnasium.Space], int], Any]) -> None:
        self.make_agent = make_agent

    def start(self, envs: list[gymnasium.Env]) -> None:
        self.spaces = (envs[0].observation_space, envs[0].action_space)
        self.agent = self.make_agent(self.spaces, len(envs))

    def begin(self, lane: int, env: gymnasium.Env, observation: Any, info: dict[str, Any], seed: int) -> None: ...

    def act(self, lanes: Lanes) -> list[Any]:
        observation_space, action_space = self.spaces
        observation = unflatten(observation_space, stack(observation_space, lanes.observations))
        feedback = (lanes.rewards, lanes.terminated, lanes.truncated) if lanes.stepped else (None, None, None)
        actions = self.agent.act(observation, *feedback, batched_mask(lanes.infos))
        return unstack(action_space, actions, len(lanes.envs))


def rollout(
    make_env: Callable[[], gymnasium.Env],
    policy: Policy,
    episodes: int = 20,
    seed: int = 0,
    num_envs: int = 10,
    name: str = "environment",
    progress: bool = False,
) -> np.ndarray:
    """Plays episodes with fixed seeds and returns what each of them brought.

    Episode ``k`` is always reset with ``seed + k``, however many environments run side by side: lane ``i`` of ``n``
    plays the episodes ``i``, ``i + n``, ``i + 2n``, ... Every episode that begins is counted, so short episodes are
    not favoured.

    Args:
        make_env: makes one environment; called once per lane.
        policy: what is measured.
        episodes: how many.
        seed: of the first episode.
        num_envs: environments in lock step.
        name: of the environment, for messages and progress.
        progress: show a progress bar.

    Returns:
        Undiscounted returns ``(episodes,)`` float64, in the order of the seeds.

    Raises:
        EnvironmentFailure: if the environment raises an error of its own.
        NonFiniteError: if a reward is NaN or infinite.
    """
    if episodes < 1 or num_envs < 1:
        raise LDMError(f"{name}: episodes and num_envs must be at least 1, got {episodes} and {num_envs}")
    count = min(num_envs, episodes)
    returns = np.zeros(episodes)
    episode = np.arange(count)
    envs: list[gymnasium.Env] = []
    try:
        for _ in range(count):
            envs.append(_call(name, "make", make_env))
        policy.start(envs)
        no = np.zeros(count, bool)
        lanes = Lanes(envs, [None] * count, [{}] * count, np.zeros(count), no, no.copy(), ~no)
        for lane in range(count):
            _begin(lanes, lane, policy, seed + lane, name)
        with tqdm(total=episodes, desc=name, unit="episode", disable=not progress, leave=False) as bar:
            while lanes.active.any():
                actions = policy.act(lanes)
                lanes.stepped = True
                for lane in range(count):
                    if not lanes.active[lane]:
                        continue
                    _step(lanes, lane, actions[lane], name)
                    returns[episode[lane]] += lanes.rewards[lane]
                    if lanes.terminated[lane] or lanes.truncated[lane]:
                        bar.update()
                        report(0)  # not silent
                        episode[lane] += count
                        lanes.active[lane] = episode[lane] < episodes
                        if lanes.active[lane]:
                            _begin(lanes, lane, policy, seed + int(episode[lane]), name)
    finally:
        for env in envs:
            env.close()
    return returns


def _begin(lanes: Lanes, lane: int, policy: Policy, seed: int, name: str) -> None:
    env = lanes.envs[lane]
    lanes.observations[lane], lanes.infos[lane] = _call(name, "reset", lambda: env.reset(seed=seed))
    policy.begin(lane, env, lanes.observations[lane], lanes.infos[lane], seed)


def _step(lanes: Lanes, lane: int, action: Any, name: str) -> None:
    def step() -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = lanes.envs[lane].step(action)
        return observation, float(reward), bool(terminated), bool(truncated), info

    observation, reward, terminated, truncated, info = _call(name, "step", step)
    if not math.isfinite(reward):
        raise NonFiniteError(
            f"environment {name} gave the reward {reward} for action {action}; its return cannot be measured"
        )
    lanes.observations[lane], lanes.infos[lane], lanes.rewards[lane] = observation, info, reward
    lanes.terminated[lane], lanes.truncated[lane] = terminated, truncated


def _call(name: str, call: str, function: Callable[[], Any]) -> Any:
    """Names the environment in errors of its own; ours name it already."""
    try:
        return function()
    except LDMError:
        raise
    except Exception as error:
        raise EnvironmentFailure(name, call, error) from error


def _sampling_mask(space: gymnasium.Space, info: dict[str, Any]) -> Any:
    """``info["action_mask"]`` in the form and dtype that ``space.sample`` asks for; None where there is none."""
    mask = info.get("action_mask")
    if mask is None or not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return None
    return tuple(np.asarray(part, np.int8) for part in mask) if isinstance(mask, tuple) else np.asarray(mask, np.int8)


def batched_mask(infos: list[dict[str, Any]]) -> dict[str, Any] | None:
    """``{"action_mask": (N, choices)}`` if all lanes have one."""
    masks = [info.get("action_mask") for info in infos]
    if any(mask is None for mask in masks):
        return None
    parts = [mask if isinstance(mask, tuple) else (mask,) for mask in masks]
    return {"action_mask": np.stack([np.concatenate([np.ravel(part) for part in row]) for row in parts])}
