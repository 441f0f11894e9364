"""A pretrained model as an agent in one Gymnasium environment or a vector of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from .cache_ldm import RingBufferCache
from .compiling import CompiledModel
from .configuration_ldm import LDMConfig
from .errors import CheckpointError, SpaceMismatchError
from .layout_ldm import EncodedSteps, EnvironmentLayout, Previous
from .modeling_ldm import LDMForActionPrediction
from .observations_ldm import as_parts
from .processing_ldm import LDMProcessor
from .spaces import (
    Action,
    Arrays,
    Info,
    Member,
    Observation,
    Space,
    check_same,
    describe_difference,
    flatten,
    leaves,
    unflatten,
)
from .statistics_ldm import RunningStatistics, standardise
from .utils.weights import check_weights

logger = logging.getLogger(__name__)

EnvironmentOrSpaces = gymnasium.Env | VectorEnv | tuple[Space, Space]
"""An environment, a vector environment, or ``(observation_space, action_space)`` of a single environment."""


@dataclass
class LDMState:
    """The history of ``B`` lanes. It belongs to the caller that steps the environments; the model keeps nothing.

    Args:
        cache: keys and values of the last window.
        positions: positions of the previous action's elements, ``(B, E)``.
        reward: rewards of the previous step, ``(B,)``.
        terminated: termination flags of the previous step, ``(B,)``.
        truncated: truncation flags of the previous step, ``(B,)``.
        has_previous: False until a lane has acted, ``(B,)``.
        statistics: statistics of the stream so far, for an environment that is not known.
        reward_known: False where an episode was broken off before its last reward was passed, ``(B,)``.
    """

    cache: RingBufferCache
    positions: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    has_previous: np.ndarray
    statistics: RunningStatistics
    reward_known: np.ndarray

    @property
    def lanes(self) -> int:
        """Number of lanes, B."""
        return len(self.reward)

    def clear(self, lanes: np.ndarray) -> None:
        """Forgets the history of the lanes where ``lanes``, ``(B,)`` bool, is True."""
        self.cache.reset(torch.from_numpy(lanes).to(self.cache.lengths.device))
        self.has_previous[lanes] = self.terminated[lanes] = self.truncated[lanes] = False
        self.statistics.reset(lanes)


def load_model(path_or_repo: str | Path) -> tuple[LDMForActionPrediction, LDMProcessor]:
    """Loads a model and its processor from a folder or the Hub.

    Raises:
        CheckpointError: if there is no usable model; says why.
    """
    try:
        config = LDMConfig.from_pretrained(path_or_repo)
        check_weights(path_or_repo, config.num_parameters)
        loaded: Any = LDMForActionPrediction.from_pretrained(
            path_or_repo, config=config, use_safetensors=True, output_loading_info=True
        )
        (model, loading), processor = loaded, LDMProcessor.from_pretrained(path_or_repo)
    except MemoryError:
        raise
    except Exception as error:  # transformers and what it calls raise whatever damaged files make them raise
        raise CheckpointError(f"no usable LDM at {path_or_repo!s}: {error!s:.2000}") from error
    if loading["missing_keys"]:  # transformers initialises them at random
        missing = sorted(loading["missing_keys"])
        raise CheckpointError(
            f"no usable LDM at {path_or_repo!s}: it lacks {len(missing)} weights, {missing[0]} first"
        )
    return model, processor


class LDMAgent:
    """Acts in an environment, or in all lanes of a vector environment, by one forward pass per step.

    The history of a lane goes on across the ends of its episodes; `clear` cuts it. Histories live in the agent
    (`LDMState`), never in the model, so that many agents can share one model.

    Args:
        model: the pretrained model.
        processor: the processor saved with it.
        env: an environment, a vector environment, or ``(observation_space, action_space)`` of a single environment.
        environment: name under which the processor knows this environment (its stored statistics and task text are
            used). By default the environment's id is looked up; an environment that is not known is standardised by the
            statistics of each stream.
        task: task text; by default that of the known environment. ``""`` acts from history alone.
        num_envs: number of lanes, only with a pair of spaces.
        deterministic: take the most likely action; otherwise actions are sampled.
        temperature: sampling temperature.
        seed: seed of the sampling.
        compile: compile the model with `torch.compile`. The second action waits for it (half a minute with twelve
            layers; less once torch's cache on the disk has it); later actions are faster: a fifth less time with one
            lane on a CPU; nine tenths less on NVIDIA GPUs, where the third action records a CUDA graph. Needs a C++
            compiler. Do not cast or change the model afterwards. One history at a time: for another `LDMState`, the
            graph is recorded again.

    Raises:
        SpaceMismatchError: if ``environment`` is known with other spaces; lists the differences.
        UnknownEnvironmentError: if the processor does not know ``environment``.
        UnsupportedSpaceError: if a leaf of a space is not supported.

    Example:
        >>> env = gymnasium.make("CartPole-v1")
        >>> agent = LDMAgent.from_pretrained("outputs/quickstart/model", env)
        >>> observation, info = env.reset(seed=0)
        >>> action = agent.act(observation)
        >>> for _ in range(100):
        ...     observation, reward, terminated, truncated, info = env.step(action)
        ...     if terminated or truncated:
        ...         observation, info = env.reset()
        ...     action = agent.act(observation, reward, terminated, truncated, info)
    """

    def __init__(
        self,
        model: LDMForActionPrediction,
        processor: LDMProcessor,
        env: EnvironmentOrSpaces,
        environment: str | None = None,
        task: str | None = None,
        num_envs: int | None = None,
        deterministic: bool = True,
        temperature: float = 1.0,
        seed: int | None = None,
        compile: bool = False,
    ) -> None:
        processor.check_model(model.config)
        self.model, self.processor = model.eval(), processor
        self._call: Callable[..., Any] = CompiledModel(model) if compile else model
        self.deterministic, self.temperature = deterministic, temperature
        self.rng = np.random.default_rng(seed)
        self.batched = num_envs is not None
        self.autoreset = AutoresetMode.SAME_STEP
        if isinstance(env, tuple):
            observation_space, action_space = env
        elif isinstance(env, VectorEnv):
            observation_space, action_space = env.single_observation_space, env.single_action_space
            num_envs, self.batched = env.num_envs, True
            self.autoreset = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        else:
            observation_space, action_space = env.observation_space, env.action_space
        self.num_envs = num_envs or 1
        # a vector made from a list of functions has no spec, its environments have
        spec = getattr(env, "spec", None) or getattr(next(iter(getattr(env, "envs", ())), None), "spec", None)
        self.layout = self._find_layout(observation_space, action_space, environment, getattr(spec, "id", None))
        self.task_ids = self.layout.task_ids if task is None else self.layout.encode_task(task)
        self.known_statistics = self.layout.mean is not None
        self._warned = False
        self.reset()

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo: str | Path,
        env: EnvironmentOrSpaces,
        device: str | torch.device | None = None,
        **kwargs: Any,
    ) -> LDMAgent:
        """Loads a model and its processor and wraps them in an agent.

        Args:
            path_or_repo: folder or Hub id of the model.
            env: an environment, a vector environment, or ``(observation_space, action_space)`` of a single environment.
            device: device to run the model on; by default where it was loaded.
            **kwargs: further arguments of the class.

        Raises:
            CheckpointError: if there is no usable model; says why.
        """
        model, processor = load_model(path_or_repo)
        if device is not None:
            model.to(device)  # type: ignore[arg-type]  # transformers' decorator of `to` loses `self`
        return cls(model, processor, env, **kwargs)

    def _find_layout(
        self,
        observation_space: Space,
        action_space: Space,
        environment: str | None,
        env_id: str | None,
    ) -> EnvironmentLayout:
        if environment is None and env_id is not None and env_id in self.processor.environments:
            known = self.processor.layout(env_id)
            differences = describe_difference(known.observation_space, observation_space)
            differences += describe_difference(known.action_space, action_space)
            environment = None if differences else env_id  # an environment that wrappers have changed is another one
        if environment is None:
            return EnvironmentLayout(self.processor.sizes, observation_space, action_space)
        layout = self.processor.layout(environment)
        check_same(layout.observation_space, observation_space, f"the observation space of {environment}")
        check_same(layout.action_space, action_space, f"the action space of {environment}")
        return layout

    def new_state(self, lanes: int | None = None) -> LDMState:
        """An empty history for every lane."""
        lanes = lanes or self.num_envs
        return LDMState(
            cache=RingBufferCache.from_config(self.model.config, lanes, self.model.device),
            positions=np.zeros((lanes, len(self.layout.actions.sizes)), np.float32),
            reward=np.zeros(lanes),
            terminated=np.zeros(lanes, bool),
            truncated=np.zeros(lanes, bool),
            has_previous=np.zeros(lanes, bool),
            statistics=RunningStatistics(lanes, self.layout.observations.precision),
            reward_known=np.ones(lanes, bool),
        )

    def reset(self) -> None:
        """Forgets everything in every lane. Not needed between episodes: the model sees when one ends."""
        self.state = self.new_state()
        self._ended = np.zeros(self.num_envs, bool)

    def clear(self, lanes: int | Sequence[int] | np.ndarray | None = None) -> None:
        """Cuts the history of some lanes (indices or a bool mask; all by default)."""
        mask = np.zeros(self.num_envs, bool)
        mask[slice(None) if lanes is None else lanes] = True
        self.state.clear(mask)
        self._ended[mask] = False

    def act(
        self,
        observation: Observation,
        reward: SupportsFloat | np.ndarray | None = None,
        terminated: bool | np.ndarray | None = None,
        truncated: bool | np.ndarray | None = None,
        info: Info | None = None,
    ) -> Action:
        """Chooses the next action.

        Pass reward and flags of the last `env.step` also if it ended an episode and ``observation`` is the first of the
        next one. Leave them out only before the first step, or if you broke an episode off.

        Args:
            observation: observation from `env.reset` or the last `env.step`; batched for a vector environment.
            reward: reward from the last `env.step`.
            terminated: termination flag from the last `env.step`.
            truncated: truncation flag from the last `env.step`.
            info: info that came with the observation; only legal actions of ``info["action_mask"]`` are chosen.

        Returns:
            An action for `env.step`, a member of its action space; batched for a vector environment.
        """
        lanes, state = self.num_envs, self.state
        active = np.ones(lanes, bool)
        if reward is None:  # env.reset() was called: nothing came back with this observation
            self._ended[:] = False
            # The last reward of an episode that was broken off is unknown; that of an episode that ended was passed.
            broken_off = state.has_previous & ~state.terminated & ~state.truncated
            state.truncated = state.truncated | broken_off
            state.reward_known = ~broken_off
        else:
            rewards, terminations, truncations = (
                np.broadcast_to(np.asarray(value), (lanes,)) for value in (reward, terminated, truncated)
            )
            # With NEXT_STEP autoreset, the step after an end only resets: its reward and flags mean nothing.
            counts = ~self._ended & state.has_previous
            state.reward_known = state.reward_known | counts
            state.reward = np.where(counts, rewards, state.reward)
            state.terminated = np.where(counts, terminations, state.terminated)
            state.truncated = np.where(counts, truncations, state.truncated)
            if self.batched and self.autoreset == AutoresetMode.NEXT_STEP:
                self._ended = ~self._ended & (terminations | truncations)
                active = ~self._ended  # the last observation of an episode: its action will not be executed
        mask = None if info is None else info.get("action_mask")
        positions = self._step(state, observation, active, state.reward_known, self.deterministic, mask)
        return self._to_actions(positions)

    def predict(
        self,
        observation: Observation,
        state: LDMState | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[Action, LDMState]:
        """Chooses actions through Stable-Baselines3's interface, so that `evaluate_policy` runs with this agent.

        The interface passes no rewards, so the model acts without them.

        Args:
            observation: observation of one environment, or a batch.
            state: state that the previous call returned; None to begin.
            episode_start: whether an episode begins with this observation, ``(B,)`` bool.
            deterministic: take the most likely action instead of a sample.

        Returns:
            Actions and the new state.
        """
        leaf = self.layout.observation_space
        batched = self.batched or self._is_batched(leaf, observation)
        if state is None:
            lanes = len(next(iter(flatten(leaf, observation).values()))) if batched and not self.batched else None
            state = self.new_state(lanes)
        elif episode_start is not None:
            state.terminated = state.truncated = np.asarray(episode_start, bool) & state.has_previous
        active = np.ones(state.lanes, bool)
        positions = self._step(state, observation, active, False, deterministic, None, batched)
        return self._to_actions(positions, batched), state

    @staticmethod
    def _is_batched(space: Space, observation: Observation) -> bool:
        return not space.contains(observation) and all(
            np.ndim(value) == len(leaf_shape) + 1
            for value, leaf_shape in zip(flatten(space, observation).values(), _leaf_shapes(space), strict=True)
        )

    @torch.inference_mode()
    def _step(
        self,
        state: LDMState,
        observation: Observation,
        active: np.ndarray,
        reward_known: np.ndarray | bool,
        deterministic: bool,
        mask: Member,
        batched: bool | None = None,
    ) -> np.ndarray:
        """Steps all lanes: encodes, runs the model, chooses positions ``(B, E)`` and notes them in ``state``."""
        layout = self.layout
        values = flatten(layout.observation_space, observation)
        if not (self.batched if batched is None else batched):
            values = {path: [value] for path, value in values.items()}
        parts = as_parts(layout.observation_space, values)
        self._check_lanes(parts, state.lanes)
        parts = self._repair_pixels(parts)
        encoded = self._encode(state, parts, active, reward_known)
        inputs = self.processor(encoded).to(self.model.device)
        output = self._call(**inputs, cache=state.cache, active=torch.from_numpy(active).to(self.model.device))
        mask = None if mask is None else _batch_mask(mask, state.lanes)
        logits, means, deviations = (
            tensor.view(state.lanes, len(layout.actions.sizes), *tensor.shape[2:]).cpu().numpy()
            for tensor in (output.logits, output.means, output.deviations)
        )
        positions = layout.actions.choose(logits, means, deviations, deterministic, self.temperature, self.rng, mask)
        state.positions = np.where(active[:, None], positions, state.positions)
        state.has_previous = state.has_previous | active
        return positions

    def _encode(
        self, state: LDMState, parts: Arrays, active: np.ndarray, reward_known: np.ndarray | bool
    ) -> EncodedSteps:
        layout = self.layout
        numbers = self._finite(layout.observations.numbers(parts, state.lanes))
        if self.known_statistics:
            assert layout.mean is not None and layout.spread is not None
            standardised = standardise(numbers, layout.mean, layout.spread)
        else:
            standardised = state.statistics.observe(numbers, active)
        reward = np.nan_to_num(np.asarray(state.reward, np.float64), posinf=0.0, neginf=0.0)
        scale = (
            layout.reward_rms
            if layout.reward_rms is not None
            else state.statistics.reward_scale(reward, active & state.has_previous & reward_known)
        )
        previous = Previous(
            state.positions, reward, scale, state.terminated, state.truncated, state.has_previous, reward_known
        )
        return layout.encode_step(parts, numbers, standardised, previous, self.task_ids)

    def _repair_pixels(self, parts: Arrays) -> Arrays:
        """Makes pixels that are NaN or infinite black."""
        for leaf in self.layout.observations.pixels:
            values = parts[leaf.path]
            if not leaf.uint8 and not np.isfinite(values).all():
                self._warn_once()
                parts = parts | {leaf.path: np.where(np.isfinite(values), values, leaf.low).astype(values.dtype)}
        return parts

    def _warn_once(self) -> None:
        if not self._warned:
            logger.warning(
                "%s: observations with NaN or infinity; they are replaced by the mean of the environment's data "
                "(pixels by black).",
                self.layout.name,
            )
            self._warned = True

    def _finite(self, numbers: np.ndarray) -> np.ndarray:
        """Replaces NaN and infinity by the scalar's mean (0 without statistics), with one warning.

        A roll-out should not die of a broken sensor.
        """
        finite = np.isfinite(numbers)
        if finite.all():
            return numbers
        self._warn_once()
        return np.where(finite, numbers, 0.0 if self.layout.mean is None else self.layout.mean)

    def _check_lanes(self, parts: Arrays, lanes: int) -> None:
        for (path, values), shape in zip(parts.items(), _leaf_shapes(self.layout.observation_space), strict=True):
            if values.shape != (lanes, *shape):
                raise SpaceMismatchError(
                    f"{self.layout.name}: the observation at leaf '{path or '(root)'}' has shape {values.shape}, "
                    f"expected {(lanes, *shape)} for {lanes} lane(s) of {self.layout.observation_space}"
                )

    def _to_actions(self, positions: np.ndarray, batched: bool | None = None) -> Action:
        parts: Mapping[str, Member] = self.layout.actions.decode(positions)
        if not (self.batched if batched is None else batched):
            parts = {path: values[0] for path, values in parts.items()}
        return unflatten(self.layout.action_space, parts)


def _leaf_shapes(space: Space) -> list[tuple[int, ...]]:
    return [
        () if isinstance(leaf.space, gymnasium.spaces.Text) else tuple(leaf.space.shape or ())
        for leaf in leaves(space)
    ]


def _batch_mask(mask: Member, lanes: int) -> np.ndarray:
    """Gymnasium's action masks as one array ``(B, n)``.

    They may be tuples (MultiDiscrete) or object arrays (which vector environments make of infos).
    """
    if isinstance(mask, tuple):
        mask = np.concatenate([np.asarray(part).reshape(lanes, -1) for part in mask], axis=1)
    masks = np.asarray(mask)
    if masks.dtype == object:  # one entry per lane; None where a lane has no mask
        rows = [None if row is None else np.concatenate([np.ravel(part) for part in row]) for row in masks]
        nothing = np.zeros(max((len(row) for row in rows if row is not None), default=0))
        masks = np.stack([nothing if row is None else row for row in rows])
    return masks.reshape(lanes, -1)


loaded_model = lru_cache(maxsize=1)(load_model)  # a process measures one model in many environments


def make_agent(
    model: LDMForActionPrediction,
    processor: LDMProcessor,
    name: str | None,
    task: str | None,
    env: EnvironmentOrSpaces,
    **kwargs: Any,
) -> LDMAgent:
    """Makes an agent that uses what the model knows of an environment, or else a task text.

    Args:
        model: the pretrained model.
        processor: the processor saved with it.
        name: name of the environment; None hides it from the model.
        task: task text for an environment that the model does not know; ``""`` acts from history alone in any.
        env: an environment, a vector environment, or ``(observation_space, action_space)`` of a single environment.
        **kwargs: further arguments of `LDMAgent`.
    """
    if name in processor.environments:
        return LDMAgent(model, processor, env, environment=name, task="" if task == "" else None, **kwargs)
    return LDMAgent(model, processor, env, task=task, **kwargs)
