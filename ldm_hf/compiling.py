"""Models compiled for roll-outs: what a step computes is started as a whole.

Starting hundreds of small products one by one from Python takes longer than many of them: at one lane a fifth of a step on a CPU, nine tenths of it on a GPU
(docs/LOG.md).
"""

from __future__ import annotations

import threading
from typing import Any

import torch

from .cache_ldm import RingBufferCache
from .modeling_ldm import LDMForActionPrediction, LDMOutput

_recording = threading.Lock()  # a process records one CUDA graph at a time


class CompiledModel:
    """A model compiled by torch for roll-outs, with one cache at a time. What a call returns is overwritten by the next.

    On CPUs, a wrapper in C++ starts the products. On NVIDIA GPUs, a CUDA graph does: the first call with inputs of certain shapes runs the compiled
    model, the second records it, those after it replay the record. A step changes the cache in place, so each of these calls is a step like any
    other.

    Args:
        model: may be given other weights later; shapes, dtype and modules are to stay.
    """

    def __init__(self, model: LDMForActionPrediction) -> None:
        self.model = model
        self._rotary = getattr(model.model.backbone, "rotary_emb", None)
        options: Any = {"cpp_wrapper": True} if model.device.type == "cpu" else None
        self._function = torch.compile(model, dynamic=False, options=options)
        self._forget(None)

    def __call__(self, cache: RingBufferCache, **inputs: torch.Tensor) -> LDMOutput:
        """A step; arguments as for the model."""
        if not cache.has_begun:  # makes its buffers, which is not to be compiled
            return self.model(**inputs, cache=cache)
        # layers with a state look at it from Python
        recordable = self.model.device.type == "cuda" and not cache.is_recurrent
        output = self._replay(cache, inputs) if recordable else self._function(**inputs, cache=cache)
        cache.count(self._rotary)
        return output

    def _forget(self, cache: RingBufferCache | None) -> None:
        """Starts anew with another cache or other weights."""
        self._cache = cache
        self._weights = list(self.model.parameters())
        self._places = [weight.data_ptr() for weight in self._weights]
        self._recorded: dict[tuple, tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor], LDMOutput] | None] = {}

    def _replay(self, cache: RingBufferCache, inputs: dict[str, torch.Tensor]) -> LDMOutput:
        if cache is not self._cache or self._places != [weight.data_ptr() for weight in self._weights]:
            self._forget(cache)
        key = tuple((name, value.shape) for name, value in inputs.items())
        if key not in self._recorded:
            self._recorded[key] = None
            return self._function(**inputs, cache=cache)
        recorded = self._recorded[key]
        if recorded is None:
            recorded = self._recorded[key] = self._record(cache, inputs)
        graph, places, output = recorded
        for name, value in inputs.items():
            places[name].copy_(value)
        graph.replay()
        return output

    def _record(
        self, cache: RingBufferCache, inputs: dict[str, torch.Tensor]
    ) -> tuple[torch.cuda.CUDAGraph, dict[str, torch.Tensor], LDMOutput]:
        """The graph of a step, where it reads its inputs, and what it writes. Nothing is computed yet."""
        places = {name: value.clone() for name, value in inputs.items()}
        graph = torch.cuda.CUDAGraph()
        # other threads may go on with theirs
        with _recording, torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = self._function(**places, cache=cache)
        return graph, places, output
