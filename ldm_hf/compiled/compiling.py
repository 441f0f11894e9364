"""Models compiled for roll-outs: all kernels of a step are launched as a whole.

Launching hundreds of small kernels one by one from Python takes longer than many of them run: with one lane, a fifth of
a step on a CPU, nine tenths of it on a GPU (docs/LOG.md).
"""

from __future__ import annotations

import logging
import threading

import numpy as np
import torch

from ..cache_ldm import RingBufferCache
from ..errors import CheckpointError
from ..layout_ldm import EnvironmentLayout
from ..modeling_ldm import LDMForActionPrediction, LDMOutput
from ..processing_ldm import LDMProcessor, ModelStep
from .exporting import can_export, export_step
from .running import OnnxStep

logger = logging.getLogger(__name__)
_recording = threading.Lock()  # a process records one CUDA graph at a time

Shapes = tuple[tuple[str, torch.Size], ...]
"""Names and shapes of the inputs of a step."""
Recorded = tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor], LDMOutput]
"""The graph of a step, the inputs that it reads, and the output that it writes."""


def compile_step(
    model: LDMForActionPrediction, processor: LDMProcessor, layout: EnvironmentLayout, task: np.ndarray
) -> OnnxStep | ModelStep:
    """The fastest form of a model's step that this machine can make for an environment.

    Args:
        model: the model, which may be wrapped by PEFT.
        processor: the processor saved with it.
        layout: the environment.
        task: ids of the task text, ``(k,)``.
    """
    model = getattr(model, "get_base_model", lambda: model)()  # without PEFT's wrapper; adapters are inside the model
    if model.device.type == "cpu" and model.dtype == torch.float32 and can_export(model):
        try:
            return OnnxStep(export_step(model, layout, task).SerializeToString(), torch.get_num_threads())
        except CheckpointError as error:
            logger.warning("%s It is compiled by torch instead.", error)
    return ModelStep(model, processor, CompiledModel(model))


class CompiledModel:
    """A model compiled by torch for roll-outs, with one cache at a time. The next call overwrites what a call returned.

    On CPUs, a wrapper in C++ launches the kernels. On NVIDIA GPUs, a CUDA graph does: the first call with inputs of
    certain shapes runs the compiled model, the second records it, later ones replay the graph. A step changes the cache
    in place, so each of these calls is a step like any other.

    Args:
        model: the model; its weights may change later, its shapes, dtype and modules must not.
    """

    def __init__(self, model: LDMForActionPrediction) -> None:
        self.model = model
        self._rotary = getattr(model.model.backbone, "rotary_emb", None)
        on_cpu = model.device.type == "cpu"
        self._function = torch.compile(model, dynamic=False, options={"cpp_wrapper": True} if on_cpu else None)
        self._forget(None)

    def __call__(self, cache: RingBufferCache, **inputs: torch.Tensor) -> LDMOutput:
        """Runs a step; takes the arguments of the model."""
        output: LDMOutput
        # the first step makes the cache's buffers, which must not be compiled
        if not cache.has_begun:
            output = self.model(**inputs, cache=cache)
            return output
        # layers with a state look at it from Python
        recordable = self.model.device.type == "cuda" and not cache.is_recurrent
        output = self._replay(cache, inputs) if recordable else self._function(**inputs, cache=cache)
        cache.count(self._rotary)
        return output

    def _forget(self, cache: RingBufferCache | None) -> None:
        """Drops the graphs, which another cache or other weights make useless."""
        self._cache = cache
        self._weights = list(self.model.parameters())
        self._places = [weight.data_ptr() for weight in self._weights]
        # None: ran once with these shapes, not recorded yet
        self._recorded: dict[Shapes, Recorded | None] = {}

    def _replay(self, cache: RingBufferCache, inputs: dict[str, torch.Tensor]) -> LDMOutput:
        if cache is not self._cache or self._places != [weight.data_ptr() for weight in self._weights]:
            self._forget(cache)
        key = tuple((name, value.shape) for name, value in inputs.items())
        if key not in self._recorded:
            self._recorded[key] = None
            output: LDMOutput = self._function(**inputs, cache=cache)
            return output
        recorded = self._recorded[key]
        if recorded is None:
            recorded = self._recorded[key] = self._record(cache, inputs)
        graph, places, output = recorded
        for name, value in inputs.items():
            places[name].copy_(value)
        graph.replay()
        return output

    def _record(self, cache: RingBufferCache, inputs: dict[str, torch.Tensor]) -> Recorded:
        """Records the graph of a step. Nothing is computed yet."""
        places = {name: value.clone() for name, value in inputs.items()}
        graph = torch.cuda.CUDAGraph()
        # other threads may go on with their own CUDA work
        with _recording, torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = self._function(**places, cache=cache)
        return graph, places, output
