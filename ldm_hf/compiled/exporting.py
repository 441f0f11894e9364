"""One step of the model in one environment as an ONNX graph, with the history as inputs and outputs."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..cache_ldm import RingBufferCache
from ..errors import CheckpointError, MissingExtraError
from ..layout_ldm import EnvironmentLayout
from ..modeling_ldm import LDMBag, LDMForActionPrediction
from .running import HISTORY, OUTPUTS, arrays_of, example

OPSET = 23  # the first with operators for attention, rotary positions and root mean squares
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def can_export(model: LDMForActionPrediction) -> bool:
    """Whether a model can be exported here: all its layers attend, and what exports is installed."""
    installed = all(importlib.util.find_spec(name) is not None for name in PACKAGES)
    return installed and not RingBufferCache.from_config(model.config, 1).is_recurrent


def export_step(model: LDMForActionPrediction, layout: EnvironmentLayout, task: np.ndarray) -> Any:
    """Exports a step of any number of lanes in float32, see `Step`.

    Args:
        model: the model, which stays as it is.
        layout: the environment.
        task: ids of the task text, ``(k,)``.

    Returns:
        The graph, an `onnx.ModelProto`.

    Raises:
        MissingExtraError: if onnx, onnxruntime or onnxscript is not installed.
        CheckpointError: if the model has layers without attention, or torch cannot export it.
    """
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, "onnx")
    cache, decoder = RingBufferCache.from_config(model.config, 1), _decoder(model)
    if cache.is_recurrent:
        raise CheckpointError(
            f"a model with a {decoder.model_type!r} backbone cannot be exported to ONNX: "
            "it has layers without attention."
        )
    step = Step(model, layout, task).eval()
    lanes = 2  # a dimension of 1 would be taken for fixed
    arrays = {name: torch.from_numpy(array) for name, array in arrays_of(example(layout, lanes)).items()}
    heads = getattr(decoder, "num_key_value_heads", None) or decoder.num_attention_heads
    width = getattr(decoder, "head_dim", None) or decoder.hidden_size // decoder.num_attention_heads
    history = {
        f"{part}.{layer}": torch.zeros(lanes, heads, window, width)
        for part in HISTORY
        for layer, window in enumerate(cache.windows)
    }
    position = torch.zeros(lanes, dtype=torch.long)
    dimension = torch.export.Dim("lanes")
    variable = {name: {1 if name in ("grid", "pixels") else 0: dimension} for name in arrays}
    with torch.no_grad(), warnings.catch_warnings(), _without_advice():
        warnings.simplefilter("ignore")  # torch's own, about itself
        try:
            program = torch.onnx.export(
                step,
                (arrays, torch.ones(lanes, dtype=torch.bool), position, list(history.values())),
                dynamic_shapes=(variable, {0: dimension}, {0: dimension}, [{0: dimension}] * len(history)),
                input_names=[*arrays, "active", "lengths", *history],
                output_names=[*OUTPUTS, "next.lengths", *(f"next.{name}" for name in history)],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(f"torch {torch.__version__} cannot export this model to ONNX: {reason}") from error
    assert program is not None
    return program.model_proto


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silences what exporters log about packages and steps that are not needed here; errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _decoder(model: LDMForActionPrediction) -> Any:
    """The backbone's configuration; its fields depend on its type."""
    return model.config.backbone_config


def quantised(graph: Any) -> Any:
    """A graph that multiplies by weights of 8 bits, with one scale per column, and scales its inputs as it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch, _without_advice():
        path = Path(scratch) / "step.onnx"
        quantize_dynamic(graph, path, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
        return importlib.import_module("onnx").load(path)


def shapes(values: Any) -> dict[str, dict[str, object]]:
    """Shapes and types of inputs or outputs of a graph by name; the number of lanes is called "lanes"."""
    onnx = importlib.import_module("onnx")
    return {
        value.name: {
            "shape": [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim],
            "type": onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
        }
        for value in values
    }


class Step(nn.Module):
    """A step of a model in one environment; what belongs to the environment and never changes is built in.

    Args:
        model: the model, which is copied.
        layout: the environment.
        task: ids of the task text, ``(k,)``.
    """

    def __init__(self, model: LDMForActionPrediction, layout: EnvironmentLayout, task: np.ndarray) -> None:
        super().__init__()
        self.model = _plain(copy.deepcopy(model).float().cpu())
        constants: dict[str, np.ndarray] = {"signature": layout.signature[None], "task": task[None]}
        constants |= {"element_ids": layout.actions.ids, "element_sizes": layout.actions.sizes}
        slots: dict[str, Sequence[Any]] = {"grid": layout.observations.grids, "pixels": layout.observations.pixels}
        for kind, found in slots.items():
            constants[f"{kind}_slots"] = np.concatenate([np.zeros(0, np.int64), *(leaf.slots for leaf in found)])
        for name, values in constants.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(
        self, arrays: dict[str, torch.Tensor], active: torch.Tensor, lengths: torch.Tensor, history: list[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """Predicts the actions of ``B`` lanes.

        Args:
            arrays: what changes from step to step, see `running.arrays_of`.
            active: lanes that keep this step, ``(B,)`` bool.
            lengths: steps that each lane has kept, ``(B,)``.
            history: keys of all layers, then values, ``(B, heads, window, width)`` each.

        Returns:
            Logits ``(E, B, n)``, means and deviations ``(E, B)``; then the new lengths and history.
        """
        model, lanes = self.model, lengths.shape[0]
        cache = RingBufferCache.from_config(model.config, lanes)
        cache.take(lengths, history)
        inputs: dict[str, torch.Tensor] = {}
        for name, array in arrays.items():
            inputs[name] = array[:, None]
            if name in ("grid", "pixels"):
                kind, slots = name.removesuffix("s"), self.get_buffer(f"{name}_slots")
                inputs[name] = array.flatten(0, 1)[:, None]
                inputs[f"{kind}_rows"] = torch.arange(lanes).repeat(len(slots))
                inputs[f"{kind}_slots"] = slots[:, None].expand(-1, lanes).flatten()
        shared = {name: self.get_buffer(name) for name in ("signature", "task")}
        hidden = model.model(**inputs, **shared, cache=cache, active=active).last_hidden_state
        ids, sizes = self.get_buffer("element_ids"), self.get_buffer("element_sizes")
        # the lanes in the place of the time: every element reads the same row
        predicted = model.action_head(hidden.transpose(0, 1), torch.zeros_like(ids), ids, sizes)
        return (*predicted, cache.lengths, *cache.history)


def _plain(model: LDMForActionPrediction) -> LDMForActionPrediction:
    """Replaces modules by others that compute the same and are exported to few operators."""
    model.set_attn_implementation("sdpa")
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LDMBag):
                setattr(parent, name, _Bag(child))
            elif type(child).__name__.endswith("RMSNorm") and hasattr(child, "variance_epsilon"):
                setattr(parent, name, _Norm(child))
    rotary = getattr(model.model.backbone, "rotary_emb", None)
    if rotary is not None:
        model.model.backbone.rotary_emb = _Rotary(rotary)
    return model


class _Bag(nn.Module):
    """Sum of the embeddings of ids ``(..., k)``, see `LDMBag`."""

    def __init__(self, bag: LDMBag) -> None:
        super().__init__()
        self.weight = nn.Parameter(bag.weight.detach().clone().index_fill(0, torch.zeros(1, dtype=torch.long), 0))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids, self.weight).sum(-2)


class _Norm(nn.Module):
    """A decoder's normalisation by the root mean square."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(norm.weight), float(norm.variance_epsilon)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, list(self.weight.shape), self.weight, self.epsilon)


class _Rotary(nn.Module):
    """A decoder's rotary positions, computed in double precision, so that they never have to be re-based."""

    def __init__(self, rotary: Any) -> None:
        super().__init__()
        self.scaling = float(rotary.attention_scaling)
        self.turns = nn.Buffer(rotary.inv_freq.detach().double() / (2 * math.pi), persistent=False)

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        turns = position_ids[..., None].double() * self.turns
        angles = ((turns - turns.floor()) * (2 * math.pi)).to(x.dtype)
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos() * self.scaling, angles.sin() * self.scaling
