"""One environment's spaces as the model sees them: the one recipe for encoding a step, in training and in an agent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from .actions_ldm import NO_LABEL, ActionCodec
from .errors import NonFiniteError, SpaceMismatchError
from .hashing import bucket, fold, key, text_ids
from .observations_ldm import CLIP, Encoded, ObservationEncoder, ObservationLimits
from .spaces import Arrays, Space, Statistics, Steps, leaves, space_to_json
from .statistics_ldm import prefix_rms, prefix_standardise, spread, standardise

if TYPE_CHECKING:
    from .state_ldm import LDMState

ANEW = "measure them anew and add the environment again (LDMProcessor.add_environment), or leave them out."
SIGNATURE_LEAVES = 32  # leaves beyond these do not enter the signature


@dataclass(frozen=True)
class Sizes(ObservationLimits):
    """What the processor and the model must agree on; see [`LDMConfig`][]."""

    num_choices: int
    max_action_numeric: int
    element_buckets: int

    @classmethod
    def of(cls, owner: object) -> Sizes:
        """The sizes of a configuration or a processor, which has them as attributes."""
        return cls(**{name: getattr(owner, name) for name in cls.names()})

    @classmethod
    def names(cls) -> list[str]:
        """The names of all sizes."""
        return [size.name for size in fields(cls)]


@dataclass
class Previous:
    """What is known of the step before each of ``N`` steps.

    Args:
        positions: positions of its action's elements, ``(N, E)``.
        reward: its rewards, ``(N,)``.
        reward_scale: root mean square of the rewards, one for all or ``(N,)``.
        terminated: its termination flags, ``(N,)``.
        truncated: its truncation flags, ``(N,)``.
        exists: False at the start of a stream, ``(N,)``.
        reward_known: False where its reward is unknown, one for all or ``(N,)``.
        action_known: whether its actions are known.
    """

    positions: np.ndarray
    reward: np.ndarray
    reward_scale: np.ndarray | float
    terminated: np.ndarray
    truncated: np.ndarray
    exists: np.ndarray
    reward_known: np.ndarray | bool = True
    action_known: bool = True


@dataclass
class EncodedSteps(Mapping[str, object]):
    """Encoded steps of one environment, ``N`` on the leading axis: time in a segment, lanes in a roll-out.

    A mapping of its fields, too, so that transformers' Trainer finds the length of a segment when it groups by length.

    Args:
        layout: the layout that encoded them.
        observation: arrays of the observations.
        categorical: ids of observation and previous action, ``(N, k)``.
        action_numeric: continuous part of the previous action, ``(N, m)``.
        feedback: reward and flags of the previous step, ``(N, 6)``, see `EnvironmentLayout.encode_previous`.
        task: ids of the task text, ``(k,)``, or ``(N, k)`` where lanes have their own; zeros if there is none.
        labels: positions of the reference's action, ``(N, E)``; None in a roll-out.
    """

    layout: EnvironmentLayout
    observation: Encoded
    categorical: np.ndarray
    action_numeric: np.ndarray
    feedback: np.ndarray
    task: np.ndarray
    labels: np.ndarray | None = None
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.feedback)

    def __getitem__(self, name: str) -> object:
        if name not in self.__dict__:
            raise KeyError(name)
        return self.__dict__[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)


class EnvironmentLayout:
    """Encodes steps of one pair of spaces.

    Args:
        sizes: sizes of the model.
        observation_space: observation space of a single environment.
        action_space: action space of a single environment.
        name: name of the environment, for messages.
        statistics: statistics of the environment's data; None if it is unknown.
        task: task text or None.

    Raises:
        NonFiniteError: if the statistics are NaN or infinite; names the leaf.
        SpaceMismatchError: if the statistics are of another space; names the leaf.
        UnsupportedSpaceError: if a leaf of a space is not supported, or too large.
    """

    def __init__(
        self,
        sizes: Sizes,
        observation_space: Space,
        action_space: Space,
        name: str = "the environment",
        statistics: Statistics | None = None,
        task: str | None = None,
    ) -> None:
        self.name, self.observation_space, self.action_space = name, observation_space, action_space
        self.sizes = sizes
        self.observations = ObservationEncoder(observation_space, sizes)
        self.actions = ActionCodec(action_space, sizes.num_choices, sizes.bag_buckets, sizes.element_buckets)
        self.signature = self._signature()
        self.mean: np.ndarray | None = None
        self.spread: np.ndarray | None = None
        self.reward_rms: float | None = None
        if statistics is not None:
            self.mean, deviation = (self._stored(statistics["observation"], part) for part in ("mean", "std"))
            self.spread = spread(self.mean, deviation, self.observations.precision)
            place = f"{name}: the stored statistics of the reward"
            try:
                mean, std = (float(statistics["reward"][part]) for part in ("mean", "std"))
                self.reward_rms = float(np.hypot(mean, std))
            except (KeyError, TypeError, ValueError) as error:
                raise SpaceMismatchError(f"{place} are missing or no numbers; {ANEW}") from error
            if std < 0:
                raise SpaceMismatchError(f"{place} have a negative deviation; {ANEW}")
            if not math.isfinite(self.reward_rms):
                raise NonFiniteError(f"{place} are NaN or infinite; {ANEW}")
        self.task_ids = self.encode_task(task)

    def _stored(self, statistics: Statistics, part: str) -> np.ndarray:
        """Stored means or deviations of all numeric scalars, ``(n,)``."""
        values = [np.zeros(0)]
        for leaf in self.observations.numeric:
            place = f"{self.name}: the stored statistics of the observation at leaf '{leaf.path or '(root)'}'"
            try:
                given = np.reshape(np.asarray(statistics[leaf.path][part], np.float64), -1)
            except (KeyError, TypeError, ValueError) as error:
                raise SpaceMismatchError(f"{place} are missing or no numbers; {ANEW}") from error
            if len(given) != math.prod(leaf.space.shape or ()):
                raise SpaceMismatchError(f"{place} are of {len(given)} numbers, of another space; {ANEW}")
            if not np.isfinite(given).all():
                raise NonFiniteError(f"{place} are NaN or infinite; {ANEW}")
            if part == "std" and (given < 0).any():
                raise SpaceMismatchError(f"{place} have a negative deviation; {ANEW}")
            values.append(given)
        return np.concatenate(values)

    def encode_task(self, task: str | None) -> np.ndarray:
        """Ids of a task text, zeros for None."""
        length = self.sizes.max_text_tokens
        return np.zeros(length, np.int64) if not task else text_ids(task, key("task"), self.sizes.bag_buckets, length)

    def _signature(self) -> np.ndarray:
        """Ids that identify the pair of spaces: for each leaf its exact space and, coarser, its kind and shape."""
        names: list[tuple[object, ...]] = []
        for role, space in (("observation", self.observation_space), ("action", self.action_space)):
            for leaf in leaves(space)[: SIGNATURE_LEAVES // 2]:
                names.append((role, leaf.path, space_to_json(leaf.space)))
                names.append((role, type(leaf.space).__name__, leaf.space.shape))
        return np.array(
            [bucket(key("signature", *name), 0, self.sizes.bag_buckets) for name in names], np.int64
        ).reshape(-1)

    def _check_finite(self, parts: Arrays) -> None:
        """Checks numbers and floating-point pixels.

        Raises:
            NonFiniteError: if one is NaN or infinite; names the leaf.
        """
        numeric, pixels = self.observations.numeric, self.observations.pixels
        for path in [*(leaf.path for leaf in numeric), *(leaf.path for leaf in pixels)]:
            if parts[path].dtype.kind == "f" and not np.isfinite(parts[path]).all():
                raise NonFiniteError(
                    f"{self.name}: the observation at leaf '{path or '(root)'}' has NaN or infinite values; "
                    "repair or drop these episodes before training."
                )

    def digest(self) -> int:
        """A number that tells these spaces and statistics from others."""
        spaces = [json.dumps(space_to_json(space)) for space in (self.observation_space, self.action_space)]
        statistics = [None if part is None else part.tolist() for part in (self.mean, self.spread)]
        return key(*spaces, *statistics, self.reward_rms)

    def encode_step(
        self,
        parts: Arrays,
        numbers: np.ndarray,
        standardised: np.ndarray,
        previous: Previous,
        task: np.ndarray,
        labels: np.ndarray | None = None,
    ) -> EncodedSteps:
        """Encodes ``N`` steps: lanes in a roll-out, time in a segment.

        Args:
            parts: observations by leaf, ``{path: (N, *shape)}``.
            numbers: their numeric scalars ``(N, n)``, finite, from `ObservationEncoder.numbers`.
            standardised: the same scalars, standardised, ``(N, n)``.
            previous: what is known of the step before each.
            task: ids of the task text, ``(k,)``.
            labels: positions of the reference's action ``(N, E)``, in training.
        """
        observation = self.observations.encode(parts, numbers, standardised)
        ids, numeric, feedback = self.encode_previous(previous)
        categorical = np.concatenate([observation.categorical, ids], axis=1)
        return EncodedSteps(self, observation, categorical, numeric, feedback, task, labels)

    def encode_lanes(
        self,
        parts: Arrays,
        numbers: np.ndarray,
        state: LDMState,
        active: np.ndarray,
        reward_known: np.ndarray | bool,
        task: np.ndarray,
    ) -> EncodedSteps:
        """Encodes one step of ``B`` lanes in a roll-out.

        Args:
            parts: observations by leaf, ``{path: (B, *shape)}``, from `ObservationEncoder.repair`.
            numbers: their numeric scalars ``(B, n)``, from there, too.
            state: the history of the lanes; its statistics take in the step.
            active: lanes that keep the step, ``(B,)`` bool.
            reward_known: lanes whose last reward is known, ``(B,)`` bool or one for all.
            task: ids of the task text, ``(k,)`` or ``(B, k)``.
        """
        if self.mean is not None and self.spread is not None:
            standardised = standardise(numbers, self.mean, self.spread)
        else:
            standardised = state.statistics.observe(numbers, active)
        reward = np.asarray(state.reward, np.float64)
        if not np.isfinite(reward).all():
            reward = np.nan_to_num(reward, posinf=0.0, neginf=0.0)
        scale = (
            self.reward_rms
            if self.reward_rms is not None
            else state.statistics.reward_scale(reward, active & state.has_previous & reward_known)
        )
        previous = Previous(
            state.positions, reward, scale, state.terminated, state.truncated, state.has_previous, reward_known
        )
        return self.encode_step(parts, numbers, standardised, previous, task)

    def encode_previous(self, previous: Previous) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Encodes the step before each step: ids ``(N, k)`` and numbers ``(N, m)`` of its action, feedback ``(N, 6)``.

        The feedback is the reward at two scales, whether it is known, terminated, truncated, and whether there is a
        previous step.
        """
        exists = previous.exists
        ids, numbers = self.actions.previous(previous.positions)
        everywhere = exists.all()
        if not (everywhere and previous.action_known):
            known = exists[:, None] & previous.action_known
            ids, numbers = ids * known, numbers * known
        numbers = fold(numbers, self.sizes.max_action_numeric)
        known, count = exists & previous.reward_known, len(previous.reward)
        with np.errstate(over="ignore"):  # infinity is clipped as well
            scaled = np.divide(
                previous.reward, previous.reward_scale, out=np.zeros(count), where=known & (previous.reward_scale > 0)
            )
        scaled = np.minimum(np.maximum(scaled, -CLIP), CLIP)  # several times as fast as `clip` with short rows
        feedback = np.empty((count, 6), np.float32)
        feedback[:, 0] = np.tanh(scaled)
        feedback[:, 1] = np.copysign(np.log1p(np.abs(scaled)), scaled)
        feedback[:, 2], feedback[:, 3], feedback[:, 4] = known, previous.terminated, previous.truncated
        feedback[:, 5] = exists
        if not everywhere:
            feedback[~exists] = 0
        return ids, numbers.astype(np.float32, copy=False), feedback

    def encode_segment(
        self,
        steps: Steps,
        past: int = 0,
        known_statistics: bool = True,
        with_task: bool = True,
        with_reward: bool = True,
        with_action: bool = True,
        repeats: np.ndarray | None = None,
    ) -> EncodedSteps:
        """Encodes consecutive steps of a stream for training.

        Args:
            steps: the steps, such as a `slice` of the trajectories.
            past: number of leading steps before the segment, which get no tokens. The last of them is the history of
                the first token; all of them count for the statistics of the stream so far.
            known_statistics: standardise by the statistics of the data; otherwise by those of the stream so far, as
                an agent does in an unknown environment.
            with_task: include the task text.
            with_reward: if False, rewards are hidden and both end flags are merged.
            with_action: if False, previous actions are hidden.
            repeats: steps of the segment whose label counts even if it repeats the action just executed in the same
                episode, ``(N,)`` bool; all by default.

        Raises:
            NonFiniteError: for NaN or infinity in an observation, action or reward.
        """
        reward = np.asarray(steps["reward"], np.float64)
        if not np.isfinite(reward).all():
            raise NonFiniteError(
                f"{self.name}: rewards have NaN or infinite values; repair or drop these episodes before training."
            )
        self._check_finite(steps["observation"])
        length = len(reward) - past
        parts = {path: values[past:] for path, values in steps["observation"].items()}
        if known_statistics and self.mean is not None and self.spread is not None:
            numbers = self.observations.numbers(parts, length)
            standardised = standardise(numbers, self.mean, self.spread)
        else:
            numbers = self.observations.numbers(steps["observation"], len(reward))
            standardised = prefix_standardise(numbers, self.observations.precision, past)
            numbers = numbers[past:]
        # what was known before each step; nothing (a row of zeros) at the start of the stream
        first, starts = max(past - 1, 0), past == 0
        scale: np.ndarray | float
        if known_statistics and self.reward_rms is not None:
            scale = self.reward_rms
        else:
            scale = _before(prefix_rms(reward), first, starts)
        reward, terminated, truncated = (
            _before(values, first, starts) for values in (reward, steps["terminated"], steps["truncated"])
        )
        if not with_reward:
            terminated = truncated = np.logical_or(terminated, truncated)
        # executed actions and labels at once: with short segments, calls cost more than what they compute
        actions = {
            path: np.concatenate([_before(values, first, starts), steps["label"][path][past:]])
            for path, values in steps["action"].items()
        }
        encoded = self.actions.positions(actions, self.name, 2 * length)
        follows = np.ones(length, bool)
        follows[:1] = not starts
        previous = Previous(encoded[:length], reward, scale, terminated, truncated, follows, with_reward, with_action)
        task = self.task_ids if with_task else np.zeros_like(self.task_ids)
        labels = encoded[length:]
        if repeats is not None:
            repeated = (encoded[:length] == labels).all(axis=1) & follows & ~np.logical_or(terminated, truncated)
            labels = np.where((repeated & ~repeats)[:, None], NO_LABEL, labels)
        return self.encode_step(parts, numbers, standardised, previous, task, labels)


def identity_of(model: str, layout: EnvironmentLayout, task: np.ndarray, lanes: int) -> dict[str, object]:
    """Whose a saved history is: only an agent of which all this is equal goes on with it.

    Args:
        model: the model in short.
        layout: the environment.
        task: ids of the task text, ``(k,)``.
        lanes: number of lanes.
    """
    return {
        "model": model,
        "environment": layout.name,
        "spaces and statistics": layout.digest(),
        "task": task.tolist(),
        "lanes": lanes,
    }


def _before(values: np.ndarray, first: int, starts: bool) -> np.ndarray:
    """Values of the steps before, from ``first`` on without the last; the first step of a stream gets any value."""
    return np.concatenate([values[:1], values[:-1]]) if starts else values[first:-1]


__all__ = ["EncodedSteps", "EnvironmentLayout", "Previous", "Sizes", "identity_of"]
