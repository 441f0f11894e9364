"""A pretrained model as an agent in one Gymnasium environment or a vector of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .cache_ldm import RingBufferCache
from .compiling import CompiledModel
from .errors import CheckpointError, SpaceMismatchError
from .layout_ldm import EncodedSteps, EnvironmentLayout, Previous
from .modeling_ldm import LDMForActionPrediction
from .observations_ldm import as_parts
from .processing_ldm import LDMProcessor
from .spaces import check_same, describe_difference, flatten, leaves, unflatten
from .statistics_ldm import RunningStatistics, standardise

logger = logging.getLogger(__name__)


@dataclass
class LDMState:
    """The history of ``B`` lanes. It belongs to whoever rolls out; the model keeps nothing.

    Attributes:
        cache: keys and values of the last window.
        positions: ``(B, E)`` of the previous action's elements.
        reward: ``(B,)`` of the previous step.
        terminated: ``(B,)`` likewise.
        truncated: ``(B,)`` likewise.
        has_previous: ``(B,)`` False until a lane has acted.
        statistics: of the stream so far, for an environment that is not known.
        reward_known: ``(B,)`` False where an episode was broken off before its last reward was told.
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
        """B."""
        return len(self.reward)

    def clear(self, lanes: np.ndarray) -> None:
        """Forgets the history of the lanes where ``lanes`` ``(B,)`` bool is True."""
        self.cache.reset(torch.from_numpy(lanes).to(self.cache.lengths.device))
        self.has_previous[lanes] = self.terminated[lanes] = self.truncated[lanes] = False
        self.statistics.reset(lanes)


def load_model(path_or_repo: str | Path) -> tuple[LDMForActionPrediction, LDMProcessor]:
    """Model and processor saved in a folder or on the Hub.

    Raises:
        CheckpointError: if there is no usable model; says why.
    """
    try:
        loaded: Any = LDMForActionPrediction.from_pretrained(path_or_repo, output_loading_info=True)
        (model, loading), processor = loaded, LDMProcessor.from_pretrained(path_or_repo)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise CheckpointError(f"no usable LDM at {path_or_repo!s}: {error}") from error
    if loading["missing_keys"]:  # transformers would draw them at random
        missing = sorted(loading["missing_keys"])
        raise CheckpointError(
            f"no usable LDM at {path_or_repo!s}: it lacks {len(missing)} weights, {missing[0]} first"
        )
    return model, processor


class LDMAgent:
    """Acts in an environment, or in all lanes of a vector environment, by one forward pass per step.

    The history of a lane goes on across the ends of its episodes; `clear` cuts it. Histories live in the agent (`LDMState`), never on the
    model, so that many agents can share one model.

    Args:
        model: the pretrained model.
        processor: the processor saved with it.
        env: an environment, a vector environment, or ``(observation_space, action_space)`` of a single environment.
        environment: name under which the processor knows this environment (its stored statistics and task text are used). By default the
            environment's own id is looked up; an environment that is not known is standardised by the statistics of each stream.
        task: task text; by default that of the known environment. ``""`` acts from history alone.
        num_envs: lanes, only with a pair of spaces.
        deterministic: the most likely action; otherwise actions are sampled.
        temperature: of the sampling.
        seed: of the sampling.
        compile: compile the model by `torch.compile`. The second action waits for it (half a minute with twelve layers; less once that is in torch's cache
            on the disk), those after it come sooner: a fifth less time at one lane of a CPU; on NVIDIA GPUs, where the third action records a CUDA graph,
            nine tenths less. Needs a C++ compiler. Do not cast or change the model afterwards. One history at a time: another `LDMState` is
            recorded anew.

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
        env: gymnasium.Env | VectorEnv | tuple[gymnasium.Space, gymnasium.Space],
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
        self._call: Any = CompiledModel(model) if compile else model
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
        cls, path_or_repo: str | Path, env: Any, device: str | torch.device | None = None, **kwargs: Any
    ) -> LDMAgent:
        """Loads model and processor from a folder or a Hub repo and wraps them in an agent; further arguments as for the class.

        Raises:
            CheckpointError: if there is no usable model; says why.
        """
        model, processor = load_model(path_or_repo)
        if device is not None:
            model.to(device)  # type: ignore[arg-type]  # transformers' decorator of `to` loses `self`
        return cls(model, processor, env, **kwargs)

    def _find_layout(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        environment: str | None,
        own_id: str | None,
    ) -> EnvironmentLayout:
        if environment is None and own_id in self.processor.environments:
            known = self.processor.layout(str(own_id))
            same = not describe_difference(known.observation_space, observation_space) and not describe_difference(
                known.action_space, action_space
            )
            environment = own_id if same else None  # same id but changed by wrappers: another environment to us
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
        """Forgets everything in every lane. Not needed between episodes: the model has learnt to see their ends."""
        self.state = self.new_state()
        self._ended = np.zeros(self.num_envs, bool)

    def clear(self, lanes: Any = None) -> None:
        """Cuts the history of some lanes (indices or a bool mask; all by default)."""
        mask = np.zeros(self.num_envs, bool)
        mask[slice(None) if lanes is None else lanes] = True
        self.state.clear(mask)
        self._ended[mask] = False

    def act(
        self,
        observation: Any,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: dict[str, Any] | None = None,
    ) -> Any:
        """Chooses the next action.

        Args:
            observation: what `env.reset` or the last `env.step` returned; batched for a vector environment.
            reward: of the last `env.step`, also where that ended an episode and ``observation`` is the first of the next one. None only before
                the first step, or where an episode was broken off.
            terminated: likewise.
            truncated: likewise.
            info: likewise; legal actions in ``info["action_mask"]`` are honoured.

        Returns:
            An action for `env.step`, a member of its action space; batched for a vector environment.
        """
        lanes, state = self.num_envs, self.state
        active = np.ones(lanes, bool)
        if reward is None:  # env.reset() was called: nothing came back with this observation
            self._ended[:] = False
            # An episode that its user broke off: its last reward was never told. After an end, everything was.
            broken_off = state.has_previous & ~state.terminated & ~state.truncated
            state.truncated = state.truncated | broken_off
            state.reward_known = ~broken_off
        else:
            reward, terminated, truncated = (
                np.broadcast_to(np.asarray(v), (lanes,)) for v in (reward, terminated, truncated)
            )
            # After NEXT_STEP autoreset, the step after an end only resets: its reward and flags say nothing.
            told = ~self._ended & state.has_previous
            state.reward_known = state.reward_known | told
            state.reward = np.where(told, reward, state.reward)
            state.terminated = np.where(told, terminated, state.terminated)
            state.truncated = np.where(told, truncated, state.truncated)
            if self.batched and self.autoreset == AutoresetMode.NEXT_STEP:
                self._ended = ~self._ended & (terminated | truncated)
                active = ~self._ended  # this observation is the last of its episode: no action is taken on it
        mask = None if info is None else info.get("action_mask")
        positions = self._step(state, observation, active, state.reward_known, self.deterministic, mask)
        return self._to_actions(positions)

    def predict(
        self,
        observation: Any,
        state: LDMState | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, LDMState]:
        """Stable-Baselines3's interface, so that `evaluate_policy` runs with this agent. Rewards are not told, so the model acts without them.

        Args:
            observation: of one environment or batched.
            state: returned by the previous call; None to begin.
            episode_start: ``(B,)`` bool.
            deterministic: most likely action instead of a sample.

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
    def _is_batched(space: gymnasium.Space, observation: Any) -> bool:
        return not space.contains(observation) and all(
            np.ndim(value) == len(leaf_shape) + 1
            for value, leaf_shape in zip(flatten(space, observation).values(), _leaf_shapes(space), strict=True)
        )

    @torch.inference_mode()
    def _step(
        self,
        state: LDMState,
        observation: Any,
        active: np.ndarray,
        reward_known: np.ndarray | bool,
        deterministic: bool,
        mask: Any,
        batched: bool | None = None,
    ) -> np.ndarray:
        """One step of all lanes: encodes, runs the model, chooses; writes the choice into ``state``. Returns positions ``(B, E)``."""
        layout = self.layout
        parts = flatten(layout.observation_space, observation)
        if not (self.batched if batched is None else batched):
            parts = {path: [value] for path, value in parts.items()}
        parts = as_parts(layout.observation_space, parts)
        self._check_lanes(parts, state.lanes)
        parts = self._repair_pixels(parts)
        encoded = self._encode(state, parts, active, reward_known)
        inputs = self.processor(encoded).to(self.model.device)
        output = self._call(**inputs, cache=state.cache, active=torch.from_numpy(active).to(self.model.device))
        mask = None if mask is None else _batch_mask(mask, state.lanes)
        logits, means, deviations = (
            values.view(state.lanes, len(layout.actions.sizes), *values.shape[2:]).cpu().numpy()
            for values in (output.logits, output.means, output.deviations)
        )
        positions = layout.actions.choose(logits, means, deviations, deterministic, self.temperature, self.rng, mask)
        state.positions = np.where(active[:, None], positions, state.positions)
        state.has_previous = state.has_previous | active
        return positions

    def _encode(
        self, state: LDMState, parts: dict[str, np.ndarray], active: np.ndarray, reward_known: np.ndarray | bool
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

    def _repair_pixels(self, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Pixels that are NaN or infinite become black."""
        for leaf in self.layout.observations.pixels:
            values = parts[leaf.path]
            if not leaf.uint8 and not np.isfinite(values).all():
                self._warn_once()
                parts = parts | {leaf.path: np.where(np.isfinite(values), values, leaf.low).astype(values.dtype)}
        return parts

    def _warn_once(self) -> None:
        if not self._warned:
            logger.warning(
                "%s: observations with NaN or infinity; they are taken as the mean of the environment's data (pixels as black).",
                self.layout.name,
            )
            self._warned = True

    def _finite(self, numbers: np.ndarray) -> np.ndarray:
        """NaN and infinity become the scalar's mean (0 without statistics), with one warning: a roll-out should not die of a broken sensor."""
        finite = np.isfinite(numbers)
        if finite.all():
            return numbers
        self._warn_once()
        return np.where(finite, numbers, 0.0 if self.layout.mean is None else self.layout.mean)

    def _check_lanes(self, parts: dict[str, np.ndarray], lanes: int) -> None:
        for (path, values), shape in zip(parts.items(), _leaf_shapes(self.layout.observation_space), strict=True):
            if values.shape != (lanes, *shape):
                raise SpaceMismatchError(
                    f"{self.layout.name}: the observation at leaf '{path or '(root)'}' has shape {values.shape}, expected "
                    f"{(lanes, *shape)} for {lanes} lane(s) of {self.layout.observation_space}"
                )

    def _to_actions(self, positions: np.ndarray, batched: bool | None = None) -> Any:
        parts = self.layout.actions.decode(positions)
        if not (self.batched if batched is None else batched):
            parts = {path: values[0] for path, values in parts.items()}
        return unflatten(self.layout.action_space, parts)


def _leaf_shapes(space: gymnasium.Space) -> list[tuple[int, ...]]:
    return [
        () if isinstance(leaf.space, gymnasium.spaces.Text) else tuple(leaf.space.shape or ())
        for leaf in leaves(space)
    ]


def _batch_mask(mask: Any, lanes: int) -> np.ndarray:
    """Gymnasium's action masks ``(B, n)``, also as tuples (MultiDiscrete) or object arrays (what vector environments make of infos)."""
    if isinstance(mask, tuple):
        mask = np.concatenate([np.asarray(part).reshape(lanes, -1) for part in mask], axis=1)
    mask = np.asarray(mask)
    if mask.dtype == object:  # one entry a lane; None where a lane has no mask
        rows = [None if row is None else np.concatenate([np.ravel(part) for part in row]) for row in mask]
        nothing = np.zeros(max((len(row) for row in rows if row is not None), default=0))
        mask = np.stack([nothing if row is None else row for row in rows])
    return mask.reshape(lanes, -1)


loaded_model = lru_cache(maxsize=1)(load_model)  # a process measures one model in many environments


def make_agent(
    model: LDMForActionPrediction, processor: LDMProcessor, name: str | None, task: str | None, env: Any, **kwargs: Any
) -> LDMAgent:
    """An agent that uses what the model knows of the environment ``name``; if it knows nothing, the task text given.

    Args:
        model: the pretrained model.
        processor: saved with it.
        name: of the environment, None if the model is not to be told.
        task: text for an environment that the model does not know; ``""`` acts from history alone in any.
        env: as `LDMAgent` takes it.
        **kwargs: further arguments of `LDMAgent`.
    """
    if name in processor.environments:
        return LDMAgent(model, processor, env, environment=name, task="" if task == "" else None, **kwargs)
    return LDMAgent(model, processor, env, task=task, **kwargs)
