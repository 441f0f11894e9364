"""A pretrained model as an agent in one Gymnasium environment or a vector of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from .demonstrations_ldm import Episodes, pieces, read_episodes, watch
from .errors import ArgumentError, CheckpointError, NonFiniteError, SpaceMismatchError
from .interfaces_ldm import by_agent, on_host, read_environment, read_flags, read_step
from .layout_ldm import EnvironmentLayout, identity_of
from .spaces import (
    Action,
    Info,
    Member,
    Observation,
    Space,
    flatten,
    is_batch,
    stack,
    unflatten,
    unstack,
)
from .state_ldm import LDMState, pack, read, unpack, write

if TYPE_CHECKING:  # an agent that runs by onnxruntime needs neither torch nor transformers
    import torch

    from .modeling_ldm import LDMForActionPrediction
    from .processing_ldm import LDMProcessor

logger = logging.getLogger(__name__)
BROKEN = (
    "%s: observations with NaN or infinity; they are replaced by the mean of the environment's data (pixels by black)."
)
DAMAGED = (
    "{}: the model computes NaN or infinity; its weights are damaged or its training diverged: load or train it again."
)

EnvironmentOrSpaces = gymnasium.Env | VectorEnv | tuple[Space, Space] | Any
"""An environment, a vector of environments (Gymnasium's, a Stable-Baselines3 VecEnv, or a parallel environment of
PettingZoo's), or ``(observation_space, action_space)`` of a single environment."""


def load_model(path_or_repo: str | Path) -> tuple[LDMForActionPrediction, LDMProcessor]:
    """Loads a model and its processor from a folder or the Hub.

    Raises:
        CheckpointError: if there is no usable model; says why.
    """
    from .configuration_ldm import LDMConfig, base_of, check_weights
    from .modeling_ldm import LDMForActionPrediction
    from .processing_ldm import LDMProcessor

    try:
        base = base_of(path_or_repo)
        config = LDMConfig.from_pretrained(base)
        check_weights(base, config.num_parameters)
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
            A PettingZoo parallel environment whose agents have equal spaces is a vector with a lane for each agent.
        environment: name under which the processor knows this environment (its stored statistics and task text are
            used). By default the environment's id is looked up; an environment that is not known is standardised by the
            statistics of each stream.
        task: task text; by default that of the known environment. ``""`` acts from history alone.
        num_envs: number of lanes, 1 or more, only with a pair of spaces.
        deterministic: take the most likely action; otherwise actions are sampled.
        temperature: sampling temperature, above 0.
        seed: seed of the sampling.
        compile: make a faster form of the model; do not cast or change the model afterwards. On a CPU, where the extra
            ``onnx`` is installed, it is exported to onnxruntime (ten seconds). Otherwise `torch.compile` compiles it,
            which needs a C++ compiler: the second action waits for it (half a minute with twelve layers; less once
            torch's cache on the disk has it). On NVIDIA GPUs, the third action records a CUDA graph, which happens
            again for another `LDMState`. docs/benchmarks.md says what each brings.

    Raises:
        ArgumentError: if ``env`` is no environment or a number is out of its range; says what to pass instead.
        NonFiniteError: if the statistics of ``environment`` are NaN or infinite; names the leaf.
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
        from .processing_ldm import ModelStep

        processor.check_model(model.config)
        self.model, self.processor = model.eval(), processor
        self._run: Any = ModelStep(model, processor)
        self._set_up(env, environment, task, num_envs, deterministic, temperature, seed)
        if compile:
            compiling = import_module("ldm_hf.compiled.compiling")  # does not travel with a checkpoint's code
            self._run = compiling.compile_step(model, processor, self.layout, self.task_ids)
            self.reset()

    def _set_up(
        self,
        env: EnvironmentOrSpaces,
        environment: str | None,
        task: str | None,
        num_envs: int | None,
        deterministic: bool,
        temperature: float,
        seed: int | None,
    ) -> None:
        """Reads the arguments that have nothing to do with how a step is computed."""
        if not (isinstance(temperature, SupportsFloat) and 0 < float(temperature) < np.inf):
            raise ArgumentError(
                f"temperature is {temperature!r}; it must be a number above 0 (deterministic=True takes the most "
                "likely action)"
            )
        self.deterministic, self.temperature = deterministic, float(temperature)
        try:
            self.rng = np.random.default_rng(seed)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"seed is {seed!r}; it must be a whole number from 0 on, or None") from error
        self.interface = read_environment(env, num_envs)
        self.num_envs, self.batched = self.interface.lanes or 1, self.interface.lanes is not None
        self.layout = self._find_layout(environment)
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

    def _find_layout(self, environment: str | None) -> EnvironmentLayout:
        spaces = self.interface.observation_space, self.interface.action_space
        return self.processor.layout_of(*spaces, environment, self.interface.env_id)

    def new_state(self, lanes: int | None = None) -> LDMState:
        """An empty history for every lane."""
        lanes = self.num_envs if lanes is None else lanes
        layout = self.layout
        return LDMState.empty(
            self._run.new_cache(lanes), lanes, len(layout.actions.sizes), layout.observations.precision
        )

    def reset(self) -> None:
        """Forgets everything in every lane. Not needed between episodes: the model sees when one ends."""
        self.state = self.new_state()

    def clear(self, lanes: int | Sequence[int] | np.ndarray | None = None) -> None:
        """Cuts the history of some lanes (indices or a bool mask; all by default).

        Raises:
            ArgumentError: if there is no such lane.
        """
        self.state.clear(self._pick(lanes))

    def _pick(self, lanes: int | Sequence[int] | np.ndarray | None) -> np.ndarray:
        """Which lanes are meant, ``(B,)`` bool."""
        mask = np.zeros(self.num_envs, bool)
        try:
            mask[slice(None) if lanes is None else lanes] = True
        except IndexError as error:
            raise ArgumentError(f"there are {self.num_envs} lanes, counted from 0, so none at {lanes!r}") from error
        return mask

    def save_state(self, path: str | Path) -> None:
        """Saves the history of all lanes, so that another process goes on where this one ends.

        Args:
            path: the file, of safetensors; an old one is replaced at once.

        Raises:
            UnwritableError: if the file cannot be written.
        """
        write(path, pack(self.state.arrays(), self._identity(), self.rng.bit_generator.state))

    def load_state(self, path: str | Path) -> None:
        """Goes on where an agent that called `save_state` was: it chooses the actions which that one would have.

        The agent has to be made as the other was: of the same model, in the same form (compiled to onnxruntime or not),
        for the same environment, with as many lanes.

        Args:
            path: the file.

        Raises:
            CheckpointError: if the file is missing or damaged, or the state is that of another model, environment or
                number of lanes; says which. The agent keeps its history then.
        """
        arrays, random = unpack(read(path), self._identity(), str(path))
        state, rng = self.new_state(), np.random.default_rng()
        try:
            state.take(arrays)
            rng.bit_generator.state = random
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
        self.state, self.rng = state, rng

    def _identity(self) -> dict[str, object]:
        """Whose history it is."""
        return identity_of(self._run.digest(), self.layout, self.task_ids, self.num_envs)

    def act(
        self,
        observation: Observation,
        reward: SupportsFloat | np.ndarray | None = None,
        terminated: bool | np.ndarray | None = None,
        truncated: bool | np.ndarray | None = None,
        info: Info | Sequence[Info | None] | None = None,
    ) -> Action:
        """Chooses the next action.

        Pass reward and flags of the last `env.step` also if it ended an episode and ``observation`` is the first of the
        next one. Leave them out only before the first step, or if you broke an episode off.

        Args:
            observation: observation from `env.reset` or the last `env.step`; batched for a vector environment, by the
                names of agents for a PettingZoo environment, as all that follows.
            reward: reward from the last `env.step`, ``(B,)`` or ``(B, 1)`` for a vector environment.
            terminated: termination flag from the last `env.step`.
            truncated: truncation flag from the last `env.step`.
            info: info that came with the observation, or a list with one for each lane; only legal actions of
                ``info["action_mask"]`` are chosen.

        Returns:
            An action for `env.step`, a member of its action space; batched for a vector environment; by the names of
            those agents that are to act for a PettingZoo environment.

        Raises:
            ArgumentError: if an argument is in another's place, lacks or has another shape; says what to pass.
            NonFiniteError: if the model computes NaN, as damaged weights do.
            SpaceMismatchError: if the observation or the mask does not fit into its space; names the leaf.
        """
        step, state = read_step(self.interface, observation, reward, terminated, truncated, info), self.state
        if not step.present.any():  # agents that have all ended
            return {}
        no = np.zeros(self.num_envs, bool)
        stepped = step.feedback is not None  # otherwise env.reset() was called: nothing came back
        next_step = bool(self.interface.agents) or self.interface.autoreset == AutoresetMode.NEXT_STEP
        active = state.feed(no | stepped, step.present, step.feedback or (state.reward, no, no), next_step)
        positions = self._step(state, step.observation, active, state.reward_known, self.deterministic, step.mask)
        actions = self._to_actions(positions)
        return by_agent(self.interface, actions, active) if self.interface.agents else actions

    def executed(self, action: Action, lanes: Sequence[int] | np.ndarray | None = None) -> None:
        """Tells what was done in the place of the actions chosen last, by an operator for instance.

        The history then has these actions. Call it before the next `act`.

        Args:
            action: as `act` returns it: a member of the action space, batched for a vector environment.
            lanes: lanes in which it was done (indices or a bool mask); all by default.

        Raises:
            ArgumentError: if nothing was chosen yet, or the actions are those of a PettingZoo environment.
            SpaceMismatchError: if it is no member of the action space.
        """
        space, chosen = self.layout.action_space, np.zeros(self.num_envs, bool)
        chosen[slice(None) if lanes is None else lanes] = True
        if self.interface.agents or not self.state.has_previous[chosen].all():
            raise ArgumentError("executed() replaces what act() has chosen, in one environment or a vector of them")
        members = unstack(space, action, self.num_envs) if self.batched else [action]
        for lane in np.flatnonzero(chosen):
            if not space.contains(members[lane]):
                raise SpaceMismatchError(f"{self.layout.name}: {members[lane]!r} is no action of {space}")
        positions = self.layout.actions.positions(stack(space, members), self.layout.name, len(members))
        self.state.positions = np.where(chosen[:, None], positions, self.state.positions)

    def show(self, episodes: Episodes, lanes: int | Sequence[int] | np.ndarray | None = None) -> None:
        """Shows episodes of somebody else: a reference, a log, a human.

        The history then is that of an agent that has observed these steps and chosen these actions itself. Show them
        before a stream begins or between its episodes; what the next `act` is told of a step before is ignored.

        Args:
            episodes: a stream of `open_dataset`, an episode, or several: mappings with ``observation``, ``action``,
                ``reward``, and perhaps ``terminated`` and ``truncated``, ``T`` steps each, as arrays, as
                `TrajectoryWriter` takes them, or as a row of a dataset has them.
            lanes: lanes that take them in (indices or a bool mask); all by default.

        Raises:
            ArgumentError: if there is no episode or no such lane, or a part of an episode is missing or of another
                length.
            NonFiniteError: if a reward or an action is NaN or infinite.
            SpaceMismatchError: if an episode is of other spaces; names the episode and the leaf. The history stays as
                it is after each of these errors.
        """
        layout, chosen = self.layout, self._pick(lanes)
        read = read_episodes(layout.observation_space, layout.action_space, episodes)
        others = np.flatnonzero(~chosen)
        kept = self.state.select(others)
        for shown in pieces(read):
            self._run.take_in(watch(layout, self.state, self.task_ids, shown), self.state.cache, chosen)
        self.state.assign(others, kept)

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

        Raises:
            ArgumentError: if ``episode_start`` has another number of lanes than the state.
            SpaceMismatchError: if the observation does not fit into its space; names the leaf.
        """
        leaf = self.layout.observation_space
        batched = self.batched or is_batch(leaf, observation)
        if state is None:
            lanes = len(next(iter(flatten(leaf, observation).values()))) if batched and not self.batched else None
            state = self.new_state(lanes)
        elif episode_start is not None:
            state.terminated = read_flags("episode_start", episode_start, state.lanes) & state.has_previous
            state.truncated = state.terminated
        active = np.ones(state.lanes, bool)
        positions = self._step(state, observation, active, False, deterministic, None, batched)
        return self._to_actions(positions, batched), state

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
        values = {path: on_host(value) for path, value in flatten(layout.observation_space, observation).items()}
        if not (self.batched if batched is None else batched):
            values = {path: [value] for path, value in values.items()}
        parts = layout.observations.parts(values, state.lanes, layout.name)
        parts, numbers, broken = layout.observations.repair(parts, state.lanes, layout.mean)
        if broken is not None and not self._warned:
            logger.warning(BROKEN, layout.name)
            self._warned = True
        encoded = layout.encode_lanes(parts, numbers, state, active, reward_known, self.task_ids)
        legal = None if mask is None else layout.actions.read_mask(mask, state.lanes)
        logits, means, deviations = self._run(encoded, state.cache, active)
        if np.isnan(logits).any() or not (np.isfinite(means).all() and np.isfinite(deviations).all()):
            raise NonFiniteError(DAMAGED.format(layout.name))
        positions = layout.actions.choose(logits, means, deviations, deterministic, self.temperature, self.rng, legal)
        state.note(positions, active)
        return positions

    def _to_actions(self, positions: np.ndarray, batched: bool | None = None) -> Action:
        parts: Mapping[str, Member] = self.layout.actions.decode(positions)
        if not (self.batched if batched is None else batched):
            parts = {path: values[0] for path, values in parts.items()}
        return unflatten(self.layout.action_space, parts)


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
