"""One environment's spaces as the model sees them: the one recipe by which a step is encoded, in training and in an agent alike."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import gymnasium
import numpy as np

from .actions_ldm import ActionCodec
from .errors import NonFiniteError
from .hashing import bucket, key, text_ids
from .observations_ldm import CLIP, Encoded, ObservationEncoder, ObservationLimits
from .spaces import leaves, space_to_json
from .statistics_ldm import prefix_rms, prefix_standardise, spread, standardise

SIGNATURE_LEAVES = 32  # leaves beyond this no longer tell layouts apart


@dataclass(frozen=True)
class Sizes(ObservationLimits):
    """What the processor and the model must agree on; see [`LDMConfig`][]."""

    num_choices: int
    max_action_numeric: int
    element_buckets: int

    @classmethod
    def of(cls, owner: Any) -> Sizes:
        """The sizes of a configuration or a processor, which have them as attributes."""
        return cls(**{name: getattr(owner, name) for name in cls.names()})

    @classmethod
    def names(cls) -> list[str]:
        """The names of all sizes."""
        return [size.name for size in fields(cls)]


@dataclass
class Previous:
    """What is known of the step before each of ``N`` steps.

    Attributes:
        positions: ``(N, E)`` of the elements of its action.
        reward: ``(N,)``.
        reward_scale: root mean square of the rewards, for all or ``(N,)``.
        terminated: ``(N,)``.
        truncated: ``(N,)``.
        exists: ``(N,)``, False at the start of a stream.
        reward_known: for all or ``(N,)``, False where nobody tells the rewards.
    """

    positions: np.ndarray
    reward: np.ndarray
    reward_scale: np.ndarray | float
    terminated: np.ndarray
    truncated: np.ndarray
    exists: np.ndarray
    reward_known: np.ndarray | bool = True


@dataclass
class EncodedSteps:
    """Encoded steps of one environment, ``N`` on the leading axis: time in a segment, lanes in a roll-out.

    Attributes:
        layout: how they were encoded.
        observation: the arrays of the observations.
        categorical: ``(N, k)`` ids of observation and previous action.
        action_numeric: ``(N, m)`` continuous part of the previous action.
        feedback: ``(N, 6)``, see `EnvironmentLayout.encode_previous`.
        task: ``(k,)`` ids, zeros if there is none.
        labels: ``(N, E)`` positions of the reference's action, None in a roll-out.
        length: N.
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


class EnvironmentLayout:
    """How steps of one pair of spaces are encoded.

    Args:
        sizes: of the model.
        observation_space: of a single environment.
        action_space: of a single environment.
        name: of the environment, for messages.
        statistics: ``{"observation": {path: {"mean": [...], "std": [...]}}, "reward": {"mean", "std"}}`` or None.
        task: task text or None.
    """

    def __init__(
        self,
        sizes: Sizes,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        name: str = "the environment",
        statistics: dict[str, Any] | None = None,
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
            columns = [statistics["observation"][leaf.path] for leaf in self.observations.numeric]
            self.mean, std = (
                np.concatenate([np.reshape(c[part], -1) for c in columns] or [np.zeros(0)]) for part in ("mean", "std")
            )
            self.spread = spread(self.mean, std, self.observations.precision)
            self.reward_rms = float(np.hypot(statistics["reward"]["mean"], statistics["reward"]["std"]))
        self.task_ids = self.encode_task(task)

    def encode_task(self, task: str | None) -> np.ndarray:
        """Ids of a task text, zeros for None."""
        length = self.sizes.max_text_tokens
        return np.zeros(length, np.int64) if not task else text_ids(task, key("task"), self.sizes.bag_buckets, length)

    def _signature(self) -> np.ndarray:
        """Ids that tell which body this is: per leaf its exact space and, coarser, its kind and shape."""
        names: list[tuple] = []
        for role, space in (("observation", self.observation_space), ("action", self.action_space)):
            for leaf in leaves(space)[: SIGNATURE_LEAVES // 2]:
                names.append((role, leaf.path, space_to_json(leaf.space)))
                names.append((role, type(leaf.space).__name__, leaf.space.shape))
        return np.array(
            [bucket(key("signature", *name), 0, self.sizes.bag_buckets) for name in names], np.int64
        ).reshape(-1)

    def _check_finite(self, parts: dict[str, np.ndarray]) -> None:
        """Raises `NonFiniteError` that names the leaf, also for pixels that are real numbers."""
        numeric, pixels = self.observations.numeric, self.observations.pixels
        for path in [*(leaf.path for leaf in numeric), *(leaf.path for leaf in pixels)]:
            if parts[path].dtype.kind == "f" and not np.isfinite(parts[path]).all():
                raise NonFiniteError(
                    f"{self.name}: the observation at leaf '{path or '(root)'}' has NaN or infinite values; "
                    "repair or drop these episodes before training."
                )

    def encode_step(
        self,
        parts: dict[str, np.ndarray],
        numbers: np.ndarray,
        standardised: np.ndarray,
        previous: Previous,
        task: np.ndarray,
        labels: np.ndarray | None = None,
    ) -> EncodedSteps:
        """Encodes ``N`` steps: lanes in a roll-out, time in a segment.

        Args:
            parts: observations by leaf, ``{path: (N, *shape)}``.
            numbers: ``(N, n)`` their numeric scalars, finite, as `observations.numbers` gives them.
            standardised: ``(N, n)`` the same, standardised.
            previous: what is known of the step before each.
            task: ``(k,)`` ids of the task text.
            labels: ``(N, E)`` positions of the reference's action, in training.
        """
        observation = self.observations.encode(parts, numbers, standardised)
        ids, numeric, feedback = self.encode_previous(previous)
        categorical = np.concatenate([observation.categorical, ids], axis=1)
        return EncodedSteps(self, observation, categorical, numeric, feedback, task, labels)

    def encode_previous(self, previous: Previous) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the step before adds to ``N`` tokens: ids ``(N, k)`` and numbers ``(N, m)`` of its action, feedback ``(N, 6)``."""
        exists = previous.exists
        ids, numbers = self.actions.previous(previous.positions)
        everywhere = exists.all()
        if not everywhere:
            ids, numbers = ids * exists[:, None], numbers * exists[:, None]
        widest = self.sizes.max_action_numeric
        if numbers.shape[1] > widest:
            folds = np.array_split(numbers, range(widest, numbers.shape[1], widest), axis=1)
            padded = [np.pad(part, ((0, 0), (0, widest - part.shape[1]))) for part in folds]
            numbers = sum(part * (-1) ** index for index, part in enumerate(padded))
        known, count = exists & previous.reward_known, len(previous.reward)
        scaled = np.divide(
            previous.reward, previous.reward_scale, out=np.zeros(count), where=known & (previous.reward_scale > 0)
        ).clip(-CLIP, CLIP)
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
        steps: dict[str, Any],
        past: int = 0,
        known_statistics: bool = True,
        with_task: bool = True,
        with_reward: bool = True,
    ) -> EncodedSteps:
        """Encodes consecutive steps of a stream for training.

        Args:
            steps: as `EnvironmentTrajectories.slice` gives them: observation, action, label ``{path: (T, *shape)}``, reward,
                terminated, truncated ``(T,)``.
            past: how many of them lead up to the segment and get no token of their own. The last of these is the history of the first
                token; all of them count for the statistics of the stream so far.
            known_statistics: standardise by the statistics of the data; otherwise by those of the stream so far, as an agent does in an
                unknown environment.
            with_task: with the task text.
            with_reward: if False, rewards are hidden and both end flags are merged.

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
        # what was known before each step: of the step before it, and nothing (a row of zeros) at the start of the stream
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
        # both at once: with short segments, calls cost more than what they compute
        told = {
            path: np.concatenate([_before(values, first, starts), steps["label"][path][past:]])
            for path, values in steps["action"].items()
        }
        encoded = self.actions.positions(told, self.name, 2 * length)
        follows = np.ones(length, bool)
        follows[:1] = not starts
        previous = Previous(encoded[:length], reward, scale, terminated, truncated, follows, with_reward)
        task = self.task_ids if with_task else np.zeros_like(self.task_ids)
        return self.encode_step(parts, numbers, standardised, previous, task, encoded[length:])


def _before(values: np.ndarray, first: int, starts: bool) -> np.ndarray:
    """All but the last from ``first`` on; what stands before the start of a stream does not count."""
    return np.concatenate([values[:1], values[:-1]]) if starts else values[first:-1]


__all__ = ["EncodedSteps", "EnvironmentLayout", "Previous", "Sizes"]
