"""Runs an exported step by onnxruntime, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ..errors import CheckpointError, MissingExtraError
from ..layout_ldm import EncodedSteps, EnvironmentLayout, Previous
from ..spaces import Arrays, leaf_array, leaves
from ..state_ldm import check_arrays

HISTORY = ("keys", "values")
OUTPUTS = ("logits", "means", "deviations")


class OnnxCache:
    """The history of ``B`` lanes.

    Args:
        shapes: shape of each buffer without the lanes, by name, see `exporting.Step`.
        lanes: number of lanes, B.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], lanes: int) -> None:
        self.arrays = {name: np.zeros((lanes, *shape), np.float32) for name, shape in shapes.items()}
        self.arrays["lengths"] = np.zeros(lanes, np.int64)

    def take_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes over the arrays of another cache of this size.

        Raises:
            ValueError: if one is missing or has another shape or type.
        """
        check_arrays(self.arrays, arrays)
        self.arrays = dict(arrays)

    def reset(self, lanes: np.ndarray | None = None) -> None:
        """Empties all lanes, or those where ``lanes``, ``(B,)`` bool, is True."""
        lengths = self.arrays["lengths"].copy()
        lengths[slice(None) if lanes is None else lanes] = 0
        self.arrays["lengths"] = lengths


class OnnxStep:
    """A step of the model in one environment.

    Args:
        graph: the file of the graph, or its bytes.
        threads: number of threads; None: as many as cores.

    Raises:
        MissingExtraError: if onnxruntime is not installed.
        CheckpointError: if the graph is damaged, or not one that `ldm export --format onnx` wrote; names the file.
    """

    def __init__(self, graph: Path | bytes, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnx") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # errors only
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads wait asleep
        self._name = name = "the graph" if isinstance(graph, bytes) else str(graph)
        try:
            source = graph if isinstance(graph, bytes) else graph.read_bytes()
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise CheckpointError(f"{name} cannot be read: {error}") from error
        except Exception as error:  # onnxruntime has a class of its own for each reason
            raise CheckpointError(f"{name} is no graph that onnxruntime can run: {error!s:.300}") from error
        self.inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._shapes = {
            name: tuple(shape[1:]) for name, shape in self.inputs.items() if name.partition(".")[0] in HISTORY
        }
        self._digest = hashlib.blake2b(source, digest_size=16).hexdigest()
        self._outputs = [value.name for value in self._session.get_outputs()]
        told = [*OUTPUTS, *(f"next.{name}" for name in ("lengths", *self._shapes))]
        if not {"feedback", "active", "lengths"} <= self.inputs.keys() or self._outputs != told:
            raise CheckpointError(f"{name} is no step of an LDM; write it with `ldm export --format onnx`.")
        if not all(isinstance(side, int) for shape in self._shapes.values() for side in shape):
            raise CheckpointError(f"{name} has a history of no fixed size; write it with `ldm export --format onnx`.")

    def new_cache(self, lanes: int) -> OnnxCache:
        """An empty history."""
        return OnnxCache(self._shapes, lanes)

    def digest(self) -> str:
        """The graph in short, which tells it apart from others."""
        return self._digest

    def check(self, layout: EnvironmentLayout) -> None:
        """Checks, by a step of nothing, that it belongs to an environment.

        Raises:
            CheckpointError: if it does not; names the file.
        """
        try:
            logits, *_ = self(example(layout, 1), self.new_cache(1), np.ones(1, bool))
        except Exception as error:  # onnxruntime has a class of its own for each reason
            raise CheckpointError(f"{self._name} does not take what {layout.name} gives: {error!s:.300}") from error
        if logits.shape != (1, len(layout.actions.sizes), layout.sizes.num_choices):
            raise CheckpointError(f"{self._name} does not choose actions of {layout.name}; export both files again.")

    def __call__(
        self, encoded: EncodedSteps, cache: OnnxCache, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps ``B`` lanes.

        Args:
            encoded: the step of each lane.
            cache: the history, which takes in the step.
            active: lanes that keep the step, ``(B,)`` bool.

        Returns:
            Logits ``(B, E, n)``, means and deviations ``(B, E)``.
        """
        feed: dict[str, Any] = {**arrays_of(encoded), "active": active, **cache.arrays}
        logits, means, deviations, *history = self._session.run(self._outputs, feed)
        cache.arrays = dict(zip(("lengths", *self._shapes), history, strict=True))
        return logits.swapaxes(0, 1), means.T, deviations.T

    def take_in(self, steps: Sequence[EncodedSteps], cache: OnnxCache, active: np.ndarray) -> None:
        """Takes steps of ``B`` lanes into the history; arguments as for `ModelStep.take_in`."""
        for step in steps:
            self(step, cache, active)


def arrays_of(encoded: EncodedSteps) -> dict[str, np.ndarray]:
    """What changes from step to step: the arrays of an encoded step that are not empty, ``(B, ...)`` each.

    Tiles of symbols are ``(G, B, S, S, C)`` and images ``(P, B, 3, size, size)``.
    """
    observation = encoded.observation
    arrays = {
        "feedback": encoded.feedback,
        "numeric": observation.numeric,
        "raw_numeric": observation.raw_numeric,
        "categorical": encoded.categorical,
        "action_numeric": encoded.action_numeric,
        "grid": observation.grid,
        "pixels": observation.pixels,
    }
    return {name: array for name, array in arrays.items() if array is not None and array.shape[1]}


def example(layout: EnvironmentLayout, lanes: int) -> EncodedSteps:
    """A step of an environment in which everything is zero, as an agent encodes it."""
    parts: Arrays = {}
    for leaf in leaves(layout.observation_space):
        text = isinstance(leaf.space, spaces.Text) or leaf.space.shape is None
        zero = "" if text else np.zeros(leaf.space.shape or (), leaf.space.dtype or np.float32)
        parts[leaf.path] = leaf_array(leaf.space, [zero] * lanes)
    numbers = layout.observations.numbers(parts, lanes)
    nothing, no = np.zeros(lanes), np.zeros(lanes, bool)
    positions = np.zeros((lanes, len(layout.actions.sizes)), np.float32)
    previous = Previous(positions, nothing, 1.0, no, no, ~no)
    return layout.encode_step(parts, numbers, np.zeros_like(numbers), previous, layout.task_ids)
