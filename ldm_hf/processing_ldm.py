"""The processor: which environments a model knows, and batches of encoded steps as the model's inputs.

`layout_ldm` encodes the steps, in training, in evaluation and in a user's agent alike.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.utils.hub import cached_file

from .actions_ldm import NO_LABEL
from .cache_ldm import RingBufferCache
from .configuration_ldm import LDMConfig, check_sizes
from .errors import CheckpointError, LDMError, NonFiniteError, UnknownEnvironmentError
from .known_ldm import FILES, KnownEnvironment, KnownEnvironments
from .layout_ldm import EncodedSteps, EnvironmentLayout, Sizes
from .modeling_ldm import LDMForActionPrediction, LDMOutput
from .spaces import Json, Space, Statistics, check_same, describe_difference, space_from_json, space_to_json
from .statistics_ldm import to_lists

# where a file of a repo comes from, as `from_pretrained` takes it
PLACE = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


OVER_TIME = {
    "feedback",
    "numeric",
    "raw_numeric",
    "categorical",
    "action_numeric",
    "grid",
    "pixels",
}  # inputs (., T, ...)
ELEMENTS = {"element_rows", "element_ids", "element_sizes"}  # inputs of the action head


class NoTokenizer:
    """What transformers' Trainer asks the tokenizer of every processor for: there are no special tokens."""

    bos_token_id = eos_token_id = pad_token_id = None

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"LDMProcessor has no tokenizer: it reads steps of environments, no text ({name!r}).")


class LDMProcessor(ProcessorMixin):
    r"""Knows environments and batches their encoded steps. Its sizes must equal those of the model's [`LDMConfig`][].

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
        environments: the environments that the model knows, ``{name: KnownEnvironment}``.

    Raises:
        ValueError: if a size or the name of an environment is impossible.
        TypeError: if the environments are no dictionary.
    """

    model_input_names = [
        "feedback",
        "signature",
        "numeric",
        "raw_numeric",
        "categorical",
        "action_numeric",
        "task",
        "element_rows",
        "element_ids",
        "element_sizes",
        "grid",
        "grid_rows",
        "grid_slots",
        "pixels",
        "pixel_rows",
        "pixel_slots",
    ]
    tokenizer = NoTokenizer()

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
        environments: Mapping[str, KnownEnvironment] | None = None,
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
        if not isinstance(environments, KnownEnvironments):
            environments = KnownEnvironments(environments or {})
        if wrong := [name for name in environments if not name.isprintable()]:  # it could change a terminal
            raise ValueError(f"{wrong[0]!r} cannot be the name of an environment")
        self.environments = environments
        check_sizes({name: getattr(self, name) for name in Sizes.names()})
        self._layouts: dict[str, EnvironmentLayout] = {}
        super().__init__()

    @property
    def sizes(self) -> Sizes:
        """Sizes that this processor and its model must share."""
        return Sizes.of(self)

    def to_dict(self) -> dict[str, Json]:
        """The sizes and the number of environments, which are kept in files of their own (`known_ldm`)."""
        told: dict[str, Json] = {name: getattr(self, name) for name in Sizes.names()}
        told |= {"environments": len(self.environments), "processor_class": type(self).__name__}
        return told | ({"auto_map": self.auto_map} if hasattr(self, "auto_map") else {})

    # every way of saving, also straight to the Hub, comes through here
    def to_json_file(self, json_file_path: str | os.PathLike[str]) -> None:
        """Saves the sizes, and the environments beside them."""
        self.environments.save(Path(json_file_path).parent)
        super().to_json_file(json_file_path)

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reads what a processor is made of, from a folder or the Hub.

        Raises:
            CheckpointError: if a file is damaged; names it.
            OSError: if a file is missing; names it.
        """
        place = {name: value for name, value in kwargs.items() if name in PLACE}  # transformers removes them
        told: tuple[dict[str, Any], dict[str, Any]] = super().get_processor_dict(
            pretrained_model_name_or_path, **kwargs
        )
        count = told[0].get("environments")
        if type(count) is int and count:  # formerly the environments themselves were there
            found = [cached_file(pretrained_model_name_or_path, name, **place) for name in FILES]
            if None in found:
                raise OSError(f"{pretrained_model_name_or_path} knows environments, but lacks {' or '.join(FILES)}")
            lines, numbers = (Path(str(path)) for path in found)
            told[0]["environments"] = KnownEnvironments.load(lines, numbers, count)
        return told

    @classmethod
    def get_possibly_dynamic_module(cls, module_name: str) -> type:
        """Refuses parts of other classes, which transformers would fetch from wherever a downloaded file says."""
        raise ValueError(f"a processor of ldm_hf has no part of the class {module_name}")

    @classmethod
    def from_config(cls, config: LDMConfig) -> LDMProcessor:
        """A processor with the sizes of a model and no known environments."""
        return cls(**{name: getattr(config, name) for name in Sizes.names()})

    def check_model(self, config: LDMConfig) -> None:
        """Checks that a model has the sizes of this processor.

        Raises:
            CheckpointError: if it has not; lists the differences.
        """
        wrong = [
            f"{name}: model {getattr(config, name)}, processor {getattr(self, name)}"
            for name in Sizes.names()
            if getattr(config, name) != getattr(self, name)
        ]
        if wrong:
            raise CheckpointError("model and processor do not belong together: " + "; ".join(wrong))

    def add_environment(
        self,
        name: str,
        observation_space: Space,
        action_space: Space,
        statistics: Statistics | None = None,
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

    def layout_of(
        self, observation_space: Space, action_space: Space, environment: str | None = None, env_id: str | None = None
    ) -> EnvironmentLayout:
        """The layout of an environment with these spaces, with what is known of it if it is known.

        Args:
            observation_space: observation space.
            action_space: action space.
            environment: name of the known environment that it is.
            env_id: id that Gymnasium knows it by; it is the known environment of that name if the spaces are equal
                (one that wrappers have changed is another one).

        Raises:
            UnknownEnvironmentError: if no environment is known by the name ``environment``.
            SpaceMismatchError: if it has other spaces; says what differs.
        """
        if environment is None and env_id is not None and env_id in self.environments:
            known = self.layout(env_id)
            differences = describe_difference(known.observation_space, observation_space)
            differences += describe_difference(known.action_space, action_space)
            environment = None if differences else env_id
        if environment is None:
            return EnvironmentLayout(self.sizes, observation_space, action_space)
        layout = self.layout(environment)
        check_same(layout.observation_space, observation_space, f"the observation space of {environment}")
        check_same(layout.action_space, action_space, f"the action space of {environment}")
        return layout

    def layout(self, name: str) -> EnvironmentLayout:
        """The layout of a known environment.

        Raises:
            UnknownEnvironmentError: if the processor does not know this name.
            CheckpointError: if what it keeps of the environment is damaged.
            NonFiniteError: if the statistics of its data are NaN or infinite.
        """
        if name not in self._layouts:
            if name not in self.environments:
                known = ", ".join(sorted(self.environments)) or "none"
                raise UnknownEnvironmentError(
                    f"the model knows no environment {name!r}. Known: {known}. "
                    "Leave the name out to act without statistics."
                )
            try:
                entry = self.environments[name]
                self._layouts[name] = EnvironmentLayout(
                    self.sizes,
                    space_from_json(entry["observation_space"]),
                    space_from_json(entry["action_space"]),
                    name=name,
                    statistics=entry["statistics"],
                    task=entry["task"],
                )
            except NonFiniteError as error:  # the data have such values
                raise NonFiniteError(f"{name}: {error}; repair or drop such episodes before training.") from error
            except (LDMError, LookupError, ValueError, TypeError, AttributeError) as error:
                raise CheckpointError(
                    f"what the model keeps of {name:.200} cannot be used ({error!r:.500}); "
                    "is it of a later version, or damaged?"
                ) from error
        return self._layouts[name]

    def __call__(self, segments: list[EncodedSteps] | EncodedSteps, return_tensors: str = "pt") -> BatchFeature:
        """Builds a batch.

        Args:
            segments: encoded segments, one row each (shorter ones are padded at their end, without labels); or the
                encoded steps of ``B`` lanes, which become ``B`` rows of one step.
            return_tensors: kind of the tensors; only ``"pt"`` is supported.

        Raises:
            ValueError: for another kind of tensors.
        """
        if return_tensors != "pt":
            raise ValueError("LDMProcessor returns PyTorch tensors only")
        return BatchFeature(_lanes(segments) if isinstance(segments, EncodedSteps) else _batch(segments))


class ModelStep:
    """A step of the model, as an agent takes it.

    Args:
        model: the model.
        processor: the processor saved with it.
        call: what to call in the place of the model, with its arguments.
    """

    def __init__(
        self, model: LDMForActionPrediction, processor: LDMProcessor, call: Callable[..., LDMOutput] | None = None
    ) -> None:
        self.model, self.processor, self._call = model, processor, call or model

    def new_cache(self, lanes: int) -> RingBufferCache:
        """An empty history of ``lanes`` environments."""
        return RingBufferCache.from_config(self.model.config, lanes, self.model.device)

    def digest(self) -> str:
        """Some numbers of every weight in short, which tell models apart."""
        digest = hashlib.blake2b(digest_size=16)
        for name, weight in self.model.state_dict().items():
            some = weight.detach().reshape(-1)
            digest.update(name.encode() + some[:: -(-len(some) // 64) or 1].double().cpu().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def __call__(
        self, encoded: EncodedSteps, cache: RingBufferCache, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps ``B`` lanes.

        Args:
            encoded: the step of each lane.
            cache: the history, which takes in the step.
            active: lanes that keep the step, ``(B,)`` bool.

        Returns:
            Logits ``(B, E, n)``, means and deviations ``(B, E)``.
        """
        inputs = self.processor(encoded).to(self.model.device)
        output = self._call(**inputs, cache=cache, active=torch.from_numpy(active).to(self.model.device))
        found: list[Any] = [output.logits, output.means, output.deviations]
        logits, means, deviations = (
            tensor.view(len(active), len(encoded.layout.actions.sizes), *tensor.shape[2:]).cpu().numpy()
            for tensor in found
        )
        return logits, means, deviations

    @torch.inference_mode()
    def take_in(self, steps: Sequence[EncodedSteps], cache: RingBufferCache, active: np.ndarray) -> None:
        """Takes steps of ``B`` lanes into the history, by one forward pass where the backbone can.

        Args:
            steps: each step of all lanes, one after another.
            cache: the history.
            active: lanes that keep the steps, ``(B,)`` bool.
        """
        model = getattr(self.model, "get_base_model", lambda: self.model)().model  # no action is chosen
        inputs = [dict(self.processor(step)) for step in steps]
        if not cache.is_recurrent:
            inputs = [
                {name: torch.cat([one[name] for one in inputs], 1) for name in OVER_TIME & inputs[0].keys()}
                | {name: value for name, value in inputs[0].items() if name not in OVER_TIME}
            ]
        keeps = torch.from_numpy(active).to(self.model.device)
        for one in inputs:
            tensors = {name: value.to(self.model.device) for name, value in one.items() if name not in ELEMENTS}
            model(**tensors, cache=cache, active=keeps)


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


def _batch(rows: list[EncodedSteps]) -> dict[str, torch.Tensor]:
    """Rows of segments, padded to the longest and widest."""
    steps = max(row.length for row in rows)

    def padded(arrays: list[np.ndarray], over_time: bool = True) -> torch.Tensor | None:
        width = max(array.shape[-1] for array in arrays)
        return _pad(arrays, (steps, width) if over_time else (width,))

    element_rows = [index for index, row in enumerate(rows) for _ in row.layout.actions.sizes]
    batch: dict[str, torch.Tensor | None] = {
        "feedback": padded([row.feedback for row in rows]),
        "signature": padded([row.layout.signature for row in rows], over_time=False),
        "numeric": padded([row.observation.numeric for row in rows]),
        "raw_numeric": padded([row.observation.raw_numeric for row in rows]),
        "categorical": padded([row.categorical for row in rows]),
        "action_numeric": padded([row.action_numeric for row in rows]),
        "task": padded([row.task for row in rows], over_time=False),
        "element_rows": torch.tensor(element_rows, dtype=torch.long),
        "element_ids": torch.from_numpy(np.concatenate([row.layout.actions.ids for row in rows])),
        "element_sizes": torch.from_numpy(np.concatenate([row.layout.actions.sizes for row in rows])),
    }
    labels = [row.labels for row in rows if row.labels is not None]
    if len(labels) == len(rows):
        padded_labels = np.full((len(element_rows), steps), NO_LABEL, np.float32)
        start = 0
        for part in labels:
            padded_labels[start : start + part.shape[1], : len(part)] = part.T
            start += part.shape[1]
        batch["labels"] = torch.from_numpy(padded_labels)
    tiles = [tile for row in rows if row.observation.grid is not None for tile in row.observation.grid]
    if tiles:
        channels = max(tile.shape[-1] for tile in tiles)
        batch["grid"] = _pad(tiles, (steps, *tiles[0].shape[1:-1], channels))
        batch |= _places("grid", [row.observation.grid_slots for row in rows])
    images = [image for row in rows if row.observation.pixels is not None for image in row.observation.pixels]
    if images:
        batch["pixels"] = _pad(images, (steps, *images[0].shape[1:]))
        batch |= _places("pixel", [row.observation.pixel_slots for row in rows])
    if batch["signature"] is None:  # no leaf in any space: the model needs it all the same
        batch["signature"] = torch.zeros(len(rows), 0, dtype=torch.long)
    return {name: value for name, value in batch.items() if value is not None}


def _places(kind: str, slots: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """Rows and slots of all tiles or images of a batch, from the slots of each row."""
    return {
        f"{kind}_rows": torch.tensor([index for index, row in enumerate(slots) for _ in row]),
        f"{kind}_slots": torch.from_numpy(np.concatenate(slots)),
    }


def _lanes(encoded: EncodedSteps) -> dict[str, torch.Tensor]:
    """``B`` rows of one step each, all of the same layout."""
    observation, actions, lanes = encoded.observation, encoded.layout.actions, encoded.length
    one_step = {
        "feedback": encoded.feedback,
        "numeric": observation.numeric,
        "raw_numeric": observation.raw_numeric,
        "categorical": encoded.categorical,
        "action_numeric": encoded.action_numeric,
    }
    batch = {name: torch.from_numpy(array)[:, None] for name, array in one_step.items() if array.shape[1]}
    batch["signature"] = torch.from_numpy(encoded.layout.signature).expand(lanes, -1)
    batch["task"] = torch.from_numpy(encoded.task).expand(lanes, -1)
    batch["element_rows"] = torch.arange(lanes).repeat_interleave(len(actions.sizes))
    batch["element_ids"] = torch.from_numpy(actions.ids).repeat(lanes)
    batch["element_sizes"] = torch.from_numpy(actions.sizes).repeat(lanes)
    for name, array, slots in (
        ("grid", observation.grid, observation.grid_slots),
        ("pixel", observation.pixels, observation.pixel_slots),
    ):
        if array is not None:
            batch["pixels" if name == "pixel" else name] = torch.from_numpy(array).flatten(0, 1)[:, None]
            batch[f"{name}_rows"] = torch.arange(lanes).repeat(len(slots))
            batch[f"{name}_slots"] = torch.from_numpy(slots).repeat_interleave(lanes)
    return batch


__all__ = ["LDMProcessor", "ModelStep"]
