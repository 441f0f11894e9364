"""The processor: steps of any Gymnasium environment to the model's inputs, and its logits back to actions.

The same code encodes a step in training, in evaluation and in a user's agent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin

from .actions import ActionCodec
from .configuration_ldm import NO_LABEL, LDMConfig
from .errors import CheckpointError, NonFiniteError, UnknownEnvironmentError
from .hashing import bucket, key, text_ids
from .observations import CLIP, Encoded, ObservationEncoder, ObservationLimits
from .spaces import leaves, space_from_json, space_to_json
from .statistics_ldm import prefix_rms, prefix_standardise, spread, standardise, to_lists

SHARED = (  # what the processor and the model must agree on
    "num_choices",
    "max_numeric",
    "max_action_numeric",
    "max_text_tokens",
    "bag_buckets",
    "element_buckets",
    "grid_buckets",
    "grid_size",
    "image_size",
)
SIGNATURE_LEAVES = 32  # leaves beyond this no longer tell layouts apart


@dataclass
class EncodedSteps:
    """Encoded steps of one environment, ``N`` on the leading axis: time in a segment, lanes in a roll-out.

    Attributes:
        layout: how they were encoded.
        observation: the arrays of the observations.
        categorical: ``(N, k)`` ids of observation and previous action.
        action_numeric: ``(N, m)`` continuous part of the previous action.
        feedback: ``(N, 6)``, see `EnvironmentLayout.encode_history`.
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
    """How steps of one pair of spaces are encoded. Made by [`LDMProcessor`][].

    Args:
        processor: gives the sizes.
        observation_space: of a single environment.
        action_space: of a single environment.
        name: of the environment, for messages.
        statistics: ``{"observation": {path: {"mean": [...], "std": [...]}}, "reward": {"mean", "std"}}`` or None.
        task: task text or None.
    """

    def __init__(
        self,
        processor: LDMProcessor,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        name: str = "the environment",
        statistics: dict[str, Any] | None = None,
        task: str | None = None,
    ) -> None:
        self.name, self.observation_space, self.action_space = name, observation_space, action_space
        limits = ObservationLimits(
            bag_buckets=processor.bag_buckets,
            grid_buckets=processor.grid_buckets,
            grid_size=processor.grid_size,
            image_size=processor.image_size,
            max_numeric=processor.max_numeric,
            max_text_tokens=processor.max_text_tokens,
        )
        self._limits, self._max_action_numeric = limits, processor.max_action_numeric
        self.observations = ObservationEncoder(observation_space, limits)
        self.actions = ActionCodec(
            action_space, processor.num_choices, processor.bag_buckets, processor.element_buckets
        )
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
        length = self._limits.max_text_tokens
        return (
            np.zeros(length, np.int64) if not task else text_ids(task, key("task"), self._limits.bag_buckets, length)
        )

    def _signature(self) -> np.ndarray:
        """Ids that tell which body this is: per leaf its exact space and, coarser, its kind and shape."""
        names: list[tuple] = []
        for role, space in (("observation", self.observation_space), ("action", self.action_space)):
            for leaf in leaves(space)[: SIGNATURE_LEAVES // 2]:
                names.append((role, leaf.path, space_to_json(leaf.space)))
                names.append((role, type(leaf.space).__name__, leaf.space.shape))
        return np.array(
            [bucket(key("signature", *name), 0, self._limits.bag_buckets) for name in names], np.int64
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

    def encode_history(
        self,
        positions: np.ndarray,
        reward: np.ndarray,
        reward_scale: np.ndarray | float,
        terminated: np.ndarray,
        truncated: np.ndarray,
        has_previous: np.ndarray,
        reward_known: np.ndarray | bool = True,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the previous step adds to ``N`` tokens.

        Args:
            positions: ``(N, E)`` of the previous action's elements.
            reward: ``(N,)`` of the previous step.
            reward_scale: its root mean square.
            terminated: ``(N,)``.
            truncated: ``(N,)``.
            has_previous: ``(N,)`` False at the start of a stream.
            reward_known: False where nobody tells the rewards.

        Returns:
            ids ``(N, k)``, continuous action ``(N, m)``, feedback ``(N, 6)``.
        """
        ids, numbers = self.actions.previous(positions)
        everywhere = has_previous.all()
        if not everywhere:
            ids, numbers = ids * has_previous[:, None], numbers * has_previous[:, None]
        if numbers.shape[1] > self._max_action_numeric:
            folds = np.array_split(
                numbers, range(self._max_action_numeric, numbers.shape[1], self._max_action_numeric), axis=1
            )
            padded = [np.pad(part, ((0, 0), (0, self._max_action_numeric - part.shape[1]))) for part in folds]
            numbers = sum(part * (-1) ** index for index, part in enumerate(padded))
        known = has_previous & reward_known
        scaled = np.divide(reward, reward_scale, out=np.zeros(len(reward)), where=known & (reward_scale > 0))
        scaled = scaled.clip(-CLIP, CLIP)
        feedback = np.empty((len(reward), 6), np.float32)
        feedback[:, 0] = np.tanh(scaled)
        feedback[:, 1] = np.copysign(np.log1p(np.abs(scaled)), scaled)
        feedback[:, 2], feedback[:, 3], feedback[:, 4], feedback[:, 5] = known, terminated, truncated, has_previous
        if not everywhere:
            feedback[~has_previous] = 0
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
        observation = self.observations.encode(parts, numbers, standardised)
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
        ids, numeric, feedback = self.encode_history(
            encoded[:length], reward, scale, terminated, truncated, has_previous=follows, reward_known=with_reward
        )
        return EncodedSteps(
            layout=self,
            observation=observation,
            categorical=np.concatenate([observation.categorical, ids], axis=1),
            action_numeric=numeric,
            feedback=feedback,
            task=self.task_ids if with_task else np.zeros_like(self.task_ids),
            labels=encoded[length:],
        )


def _before(values: np.ndarray, first: int, starts: bool) -> np.ndarray:
    """All but the last from ``first`` on; what stands before the start of a stream does not count."""
    return np.concatenate([values[:1], values[:-1]]) if starts else values[first:-1]


class LDMProcessor(ProcessorMixin):
    r"""Encodes observations and histories and decodes actions. Sizes must equal those of the model's [`LDMConfig`][].

    Args:
        num_choices: see [`LDMConfig`][], as for all sizes.
        max_numeric: see [`LDMConfig`][].
        max_action_numeric: see [`LDMConfig`][].
        max_text_tokens: see [`LDMConfig`][].
        bag_buckets: see [`LDMConfig`][].
        element_buckets: see [`LDMConfig`][].
        grid_buckets: see [`LDMConfig`][].
        grid_size: see [`LDMConfig`][].
        image_size: see [`LDMConfig`][].
        environments: ``{name: {"observation_space", "action_space", "statistics", "task"}}``, the environments that the model knows.
    """

    model_input_names = [
        "feedback",
        "signature",
        "numeric",
        "raw_numeric",
        "categorical",
        "action_numeric",
        "task",
        "grid",
        "pixels",
    ]

    def __init__(
        self,
        num_choices: int = 101,
        max_numeric: int = 256,
        max_action_numeric: int = 32,
        max_text_tokens: int = 32,
        bag_buckets: int = 8192,
        element_buckets: int = 1024,
        grid_buckets: int = 8192,
        grid_size: int = 10,
        image_size: int = 56,
        environments: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.num_choices = num_choices
        self.max_numeric = max_numeric
        self.max_action_numeric = max_action_numeric
        self.max_text_tokens = max_text_tokens
        self.bag_buckets = bag_buckets
        self.element_buckets = element_buckets
        self.grid_buckets = grid_buckets
        self.grid_size = grid_size
        self.image_size = image_size
        self.environments = environments or {}
        self._layouts: dict[str, EnvironmentLayout] = {}
        super().__init__()

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().to_dict().items() if not name.startswith("_")}

    @classmethod
    def from_config(cls, config: LDMConfig) -> LDMProcessor:
        """A processor with the sizes of a model and no known environments."""
        return cls(**{name: getattr(config, name) for name in SHARED})

    def check_model(self, config: LDMConfig) -> None:
        """Raises `CheckpointError` if a model has other sizes than this processor."""
        wrong = [
            f"{name}: model {getattr(config, name)}, processor {getattr(self, name)}"
            for name in SHARED
            if getattr(config, name) != getattr(self, name)
        ]
        if wrong:
            raise CheckpointError("model and processor do not belong together: " + "; ".join(wrong))

    def add_environment(
        self,
        name: str,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        statistics: dict[str, Any] | None = None,
        task: str | None = None,
    ) -> None:
        """Makes an environment known under ``name``: its spaces, the statistics of its data and its task text."""
        self.environments[name] = {
            "observation_space": space_to_json(observation_space),
            "action_space": space_to_json(action_space),
            "statistics": to_lists(statistics),
            "task": task,
        }
        self._layouts.pop(name, None)

    def layout(self, name: str) -> EnvironmentLayout:
        """The layout of a known environment.

        Raises:
            UnknownEnvironmentError: if the processor does not know this name.
        """
        if name not in self._layouts:
            if name not in self.environments:
                known = ", ".join(sorted(self.environments)) or "none"
                raise UnknownEnvironmentError(
                    f"the model knows no environment {name!r}. Known: {known}. Leave the name out to act without statistics."
                )
            entry = self.environments[name]
            self._layouts[name] = EnvironmentLayout(
                self,
                space_from_json(entry["observation_space"]),
                space_from_json(entry["action_space"]),
                name=name,
                statistics=entry["statistics"],
                task=entry["task"],
            )
        return self._layouts[name]

    def __call__(self, segments: list[EncodedSteps] | EncodedSteps, return_tensors: str = "pt") -> BatchFeature:
        """Builds a batch.

        Args:
            segments: encoded segments, one row each (shorter ones are padded at their end, without labels); or the encoded steps of
                ``B`` lanes, which become ``B`` rows of one step.
            return_tensors: only ``"pt"``.
        """
        if return_tensors != "pt":
            raise ValueError("LDMProcessor returns PyTorch tensors only")
        return BatchFeature(_lanes(segments) if isinstance(segments, EncodedSteps) else _batch(segments))


def _pad(arrays: list[np.ndarray], shape: tuple[int, ...]) -> torch.Tensor | None:
    """Zero-padded stack ``(B, *shape)``; None where there is nothing in it."""
    if 0 in shape:
        return None
    if all(array.shape == shape for array in arrays):
        return torch.from_numpy(np.concatenate(arrays).reshape(len(arrays), *shape))
    out = np.zeros((len(arrays), *shape), arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row][tuple(slice(size) for size in array.shape)] = array
    return torch.from_numpy(out)


def _batch(rows: list[EncodedSteps]) -> dict[str, Any]:
    """Rows of segments, padded to the longest and widest."""
    steps = max(row.length for row in rows)

    def padded(arrays: list[np.ndarray], over_time: bool = True) -> torch.Tensor | None:
        width = max(array.shape[-1] for array in arrays)
        return _pad(arrays, (steps, width) if over_time else (width,))

    batch: dict[str, Any] = {
        "feedback": padded([row.feedback for row in rows]),
        "signature": padded([row.layout.signature for row in rows], over_time=False),
        "numeric": padded([row.observation.numeric for row in rows]),
        "raw_numeric": padded([row.observation.raw_numeric for row in rows]),
        "categorical": padded([row.categorical for row in rows]),
        "action_numeric": padded([row.action_numeric for row in rows]),
        "task": padded([row.task for row in rows], over_time=False),
        "element_rows": torch.tensor(
            [index for index, row in enumerate(rows) for _ in row.layout.actions.sizes], dtype=torch.long
        ),
        "element_ids": torch.from_numpy(np.concatenate([row.layout.actions.ids for row in rows])),
        "element_sizes": torch.from_numpy(np.concatenate([row.layout.actions.sizes for row in rows])),
    }
    if all(row.labels is not None for row in rows):
        labels = np.full((len(batch["element_rows"]), steps), NO_LABEL, np.float32)
        start = 0
        for row in rows:
            labels[start : start + row.labels.shape[1], : row.length] = row.labels.T  # type: ignore[union-attr]
            start += row.labels.shape[1]  # type: ignore[union-attr]
        batch["labels"] = torch.from_numpy(labels)
    with_grid = [(index, row) for index, row in enumerate(rows) if row.observation.grid is not None]
    if with_grid:
        channels = max(row.observation.grid.shape[-1] for _, row in with_grid)  # type: ignore[union-attr]
        tiles = [tile for _, row in with_grid for tile in row.observation.grid]  # type: ignore[union-attr]
        batch["grid"] = _pad(tiles, (steps, *tiles[0].shape[1:-1], channels))
        batch["grid_rows"] = torch.tensor([index for index, row in with_grid for _ in row.observation.grid_slots])
        batch["grid_slots"] = torch.from_numpy(np.concatenate([row.observation.grid_slots for _, row in with_grid]))
    with_pixels = [(index, row) for index, row in enumerate(rows) if row.observation.pixels is not None]
    if with_pixels:
        images = [image.numpy() for _, row in with_pixels for image in row.observation.pixels]  # type: ignore[union-attr]
        batch["pixels"] = _pad(images, (steps, *images[0].shape[1:]))
        batch["pixel_rows"] = torch.tensor([index for index, row in with_pixels for _ in row.observation.pixel_slots])
        batch["pixel_slots"] = torch.from_numpy(
            np.concatenate([row.observation.pixel_slots for _, row in with_pixels])
        )
    return {name: value for name, value in batch.items() if value is not None}


def _lanes(encoded: EncodedSteps) -> dict[str, Any]:
    """``B`` rows of one step each, all of the same layout."""
    observation, actions, lanes = encoded.observation, encoded.layout.actions, encoded.length
    one_step = {
        "feedback": encoded.feedback,
        "numeric": observation.numeric,
        "raw_numeric": observation.raw_numeric,
        "categorical": encoded.categorical,
        "action_numeric": encoded.action_numeric,
    }
    batch: dict[str, Any] = {
        name: torch.from_numpy(array)[:, None] for name, array in one_step.items() if array.shape[1]
    }
    batch["signature"] = torch.from_numpy(encoded.layout.signature).expand(lanes, -1)
    batch["task"] = torch.from_numpy(encoded.task).expand(lanes, -1)
    batch["element_rows"] = torch.arange(lanes).repeat_interleave(len(actions.sizes))
    batch["element_ids"] = torch.from_numpy(actions.ids).repeat(lanes)
    batch["element_sizes"] = torch.from_numpy(actions.sizes).repeat(lanes)
    for name, values, slots in (
        ("grid", None if observation.grid is None else torch.from_numpy(observation.grid), observation.grid_slots),
        ("pixel", observation.pixels, observation.pixel_slots),
    ):
        if values is not None:
            batch["pixels" if name == "pixel" else name] = values.flatten(0, 1)[:, None]
            batch[f"{name}_rows"] = torch.arange(lanes).repeat(len(slots))
            batch[f"{name}_slots"] = torch.from_numpy(slots).repeat_interleave(lanes)
    return batch


__all__ = ["EncodedSteps", "EnvironmentLayout", "LDMProcessor"]
