#!/usr/bin/env python
"""Time per environment step of a roll-out: the ring buffer against alternatives of equal backbone size, in one run.

    python benchmarks/rollout.py --hidden 768 --layers 12 --window 256 --threads 1 2 \\
        --json outputs/benchmarks/rollout.json
    python benchmarks/rollout.py --hidden 768 --layers 12 --window 256 --device cuda --dtype bf16

* ring buffer: this package; also with int8 weights, and, with `--compile`, compiled by torch
  (`LDMAgent(..., compile=True)`).
* DynamicCache: the same model with the stock cache of transformers.
* re-encoding: the same model without a cache, run over the last window at every step (which is another function, see
  docs/LOG.md).
* Decision Transformer: transformers' model with the same width and depth; three tokens per step, no cache.
* JAT: Jack of All Trades' own code with the same width, depth and steps of history; two tokens per step. `--jat` takes
  a checkout of https://github.com/huggingface/jat, see benchmarks/jat.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from common import (
    ACTION,
    DTYPES,
    OBSERVATION,
    add_sizes,
    model_of,
    parser,
    quantised,
    race,
    random_segments,
    show,
    sized,
)
from jat.contender import KINDS, Jat
from torch import nn
from transformers import DecisionTransformerConfig, DecisionTransformerModel, DynamicCache, PretrainedConfig

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.cache_ldm import RingBufferCache
from ldm_hf.compiled.compiling import CompiledModel

PER_STEP = ("feedback", "numeric", "raw_numeric", "categorical", "action_numeric")
OURS, COMPILED, HEAVY = "ring buffer", "ring buffer, compiled", ("re-encoding", "Decision Transformer")
GEMM, GEMV = "products", "products of one row"


class StockCache(DynamicCache):
    """transformers' cache behind the interface that the model expects of a roll-out cache."""

    def __init__(self, config: PretrainedConfig, lanes: int, device: str) -> None:
        super().__init__(config=config)
        self.is_recurrent = False
        self.positions = torch.zeros(lanes, 1, dtype=torch.long, device=device)

    def attention_mask(self, dtype: torch.dtype, steps: int, window: int) -> None:
        """No mask: the backbone makes its own."""

    def position_ids(self, steps: int) -> torch.Tensor:
        return self.positions

    def advance(self, active: torch.Tensor | None, steps: int) -> None:
        self.positions = self.positions + 1

    def count(self, rotary: nn.Module, steps: int) -> None:
        """Does nothing: positions are not re-based."""


def full_caches(config: LDMConfig, lanes: int, device: str, dtype: torch.dtype) -> tuple[RingBufferCache, StockCache]:
    """Both caches, filled with a window of steps."""
    backbone, window = config.backbone_config, config.window
    ring = RingBufferCache(window, backbone.num_hidden_layers, lanes, device)
    stock = StockCache(backbone, lanes, device)
    for index, layer in enumerate(ring.layers):
        keys = torch.randn(lanes, backbone.num_key_value_heads, window, backbone.head_dim, device=device, dtype=dtype)
        layer.lazy_initialization(keys, keys)
        layer.keys.copy_(keys)
        layer.values.copy_(keys)
        stock.update(keys, keys, index)
    ring.lengths += window
    stock.positions = stock.positions + window
    return ring, stock


def decision_transformer(config: LDMConfig, lanes: int, device: str, dtype: torch.dtype) -> Callable[[], object]:
    """A step of the Decision Transformer over the last window."""
    backbone, window = config.backbone_config, config.window
    sizes = DecisionTransformerConfig(
        state_dim=OBSERVATION.shape[0],
        act_dim=ACTION.shape[0],
        hidden_size=backbone.hidden_size,
        n_layer=backbone.num_hidden_layers,
        n_head=backbone.num_attention_heads,
        n_positions=3 * window,
    )
    model = DecisionTransformerModel(sizes).to(device, dtype).eval()
    inputs = {
        "states": torch.randn(lanes, window, OBSERVATION.shape[0], device=device, dtype=dtype),
        "actions": torch.randn(lanes, window, ACTION.shape[0], device=device, dtype=dtype),
        "rewards": torch.randn(lanes, window, 1, device=device, dtype=dtype),
        "returns_to_go": torch.randn(lanes, window, 1, device=device, dtype=dtype),
        "timesteps": torch.arange(window, device=device).expand(lanes, -1),
        "attention_mask": torch.ones(lanes, window, device=device),
    }
    return lambda: model(**inputs)


def matrices(model: LDMForActionPrediction) -> list[torch.Tensor]:
    """All weight matrices that a step multiplies by."""
    parts = (model.model.mlp, model.model.backbone, model.action_head)
    return [layer.weight for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]


def products(weights: list[torch.Tensor], rows: int) -> Callable[[], object]:
    """Products of the weights with ``rows`` rows and nothing else.

    All matrices take part, since a single one would stay in the processor's cache.
    """
    inputs = [weight.new_ones(rows, weight.shape[1]) for weight in weights]

    def call() -> None:
        for x, weight in zip(inputs, weights, strict=True):
            nn.functional.linear(x, weight)

    if not weights[0].is_cuda:
        return call
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()  # launches them all at once
    with torch.cuda.graph(graph):
        call()
    return functools.partial(_replay, graph, inputs, weights)


def _replay(graph: torch.cuda.CUDAGraph, *read: list[torch.Tensor]) -> None:
    """Replays a graph; keeps the tensors that it reads alive, which the graph does not."""
    graph.replay()


def reading(weights: list[torch.Tensor]) -> Callable[[], object]:
    """Products of one row, which are as fast as memory can deliver the weights.

    On GPUs that takes a single large matrix: small products are over before memory is busy.
    """
    if weights[0].is_cuda:
        weights = [torch.cat([weight.flatten() for weight in weights]).view(-1, weights[0].shape[1])]
    return products(weights, 1)


def limit(config: LDMConfig, weights: list[torch.Tensor], lanes: int, times: dict[str, float]) -> float:
    """Least seconds that the machine needs for a step of all lanes.

    With one lane, it reads the weights; with more, it multiplies by them and reads the cache at the same bandwidth.
    """
    if lanes == 1:
        return times[GEMV]
    cache = 2 * config.backbone_config.num_hidden_layers * lanes * config.window * config.hidden_size
    return times[GEMM] + times[GEMV] * cache / sum(weight.numel() for weight in weights)


def contenders(
    args: argparse.Namespace, model: LDMForActionPrediction, lanes: int, jat: Jat | None
) -> dict[str, Callable[[], object]]:
    """A step of each contender with a full window, and the products that set the limit."""
    config, device, dtype = model.config, args.device, DTYPES[args.dtype]
    segments = {name: value.to(device) for name, value in random_segments(config, lanes, args.window, False).items()}
    step = {name: value[:, -1:] if name in PER_STEP else value for name, value in segments.items()}
    ring, stock = full_caches(config, lanes, device, dtype)  # a step costs the same whatever is in them
    few = min(lanes, args.heavy_lanes)
    window = {name: value[:few] for name, value in segments.items()}
    elements = len(segments["element_rows"]) // lanes * few
    window |= {name: value[:elements] for name, value in segments.items() if name.startswith("element_")}
    weights = matrices(model)
    made = {
        OURS: lambda: model(**step, cache=ring),
        "DynamicCache": lambda: model(**step, cache=stock),
        "re-encoding": lambda: model(**window),
        "Decision Transformer": decision_transformer(config, few, device, dtype),
        GEMM: products(weights, lanes),
        GEMV: reading(weights),
    }
    if device == "cpu" and args.dtype == "fp32":
        small = quantised(model)
        made[f"{OURS}, int8"] = lambda: small(**step, cache=ring)
    if args.compile:
        fast = CompiledModel(model)
        made[COMPILED] = lambda: fast(**step, cache=ring)
    if jat is not None:
        made |= {f"JAT, {kind}": functools.partial(jat.step, kind) for kind in KINDS}
    return made


@torch.inference_mode()
def main() -> None:
    made = parser(__doc__)
    add_sizes(made)
    made.set_defaults(threads=[1])
    made.add_argument("--threads", type=int, nargs="+", help="numbers of torch threads, one after the other")
    made.add_argument("--lanes", type=int, nargs="+", default=[1, 8, 64, 256], help="numbers of environments")
    made.add_argument(
        "--heavy-lanes", type=int, default=8, help="most lanes of contenders that run over whole windows"
    )
    made.add_argument("--seconds", type=float, default=5, help="measuring time of each contender")
    made.add_argument("--compile", action="store_true", help="also measure torch.compile (needs a C++ compiler)")
    made.add_argument("--jat", type=Path, help="folder of a checkout of JAT")
    args = made.parse_args()
    config = sized(args.hidden, args.layers, args.window)
    model = model_of(config, args.device, DTYPES[args.dtype])
    weights, rows = matrices(model), []
    for threads in args.threads:
        torch.set_num_threads(threads)
        with Jat(args.jat, args, threads) if args.jat else contextlib.nullcontext() as jat:
            for lanes in args.lanes:
                times = race(contenders(args, model, lanes, jat), args.seconds, args.device)
                least = limit(config, weights, lanes, times)
                for name in (name for name in times if name not in (GEMM, GEMV)):
                    at_once = 1 if name.startswith("JAT") else min(lanes, args.heavy_lanes) if name in HEAVY else lanes
                    rows.append(
                        {
                            "threads": threads,
                            "lanes": lanes,
                            "contender": name,
                            "ms per step": 1e3 * times[name] / at_once,
                            "times ours": times[name] / at_once * lanes / times[OURS],
                            "limit, ms": 1e3 * least / lanes if name in (OURS, COMPILED) else None,
                            "share of limit": least / times[name] if name in (OURS, COMPILED) else None,
                        }
                    )
    size = sum(parameter.numel() for parameter in model.model.backbone.parameters()) / 1e6
    sizes = f"{args.layers} x {args.hidden}, window {args.window}, {size:.1f}M parameters in the backbone"
    title = f"Roll-out, {sizes}, {args.dtype}"
    notes = [
        f"ms per step: of one environment. {' and '.join(HEAVY)}: in batches of {args.heavy_lanes} lanes at the most.",
        f"limit: {args.dtype} weights read once by products of one row; from two lanes on, the products, and the cache "
        "read at that bandwidth.",
        f"JAT: one environment at a time, so one lane's time; fp32, {2 * args.window} tokens of history = "
        f"{args.window} steps."
        if args.jat
        else "JAT: skipped (no --jat PATH)",
    ]
    show(title, rows, args, notes)


if __name__ == "__main__":
    main()
