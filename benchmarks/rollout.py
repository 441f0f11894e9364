#!/usr/bin/env python
"""Time per environment step of a roll-out: the ring buffer against what else there is, at equal backbone size, in one run.

    python benchmarks/rollout.py --hidden 768 --layers 12 --window 256 --lanes 1 64 --json outputs/benchmarks/rollout.json

* ring buffer: this package.
* re-encoding: the same model without a cache, run over the last window at every step (which is another function, see docs/LOG.md).
* DynamicCache: the same model with the stock cache of transformers.
* Decision Transformer: transformers' model with the same width and depth; three tokens a step, no cache.
"""

from __future__ import annotations

import torch
from common import ACTION, OBSERVATION, model_of, parser, random_segments, seconds, show, sized
from torch import nn
from transformers import DecisionTransformerConfig, DecisionTransformerModel, DynamicCache

from ldm_hf import LDMConfig
from ldm_hf.cache_ldm import RingBufferCache

PER_STEP = ("feedback", "numeric", "raw_numeric", "categorical", "action_numeric")


class StockCache(DynamicCache):
    """transformers' cache behind the interface that the model expects of a roll-out cache."""

    def __init__(self, config, lanes: int, device: str) -> None:
        super().__init__(config=config)
        self.position_ids = torch.zeros(lanes, 1, dtype=torch.long, device=device)

    def attention_mask(self, dtype: torch.dtype) -> None:
        """The backbone makes its own."""

    def advance(self, active: torch.Tensor | None, rotary: nn.Module) -> None:
        self.position_ids = self.position_ids + 1


def cached_step(model: nn.Module, inputs: dict[str, torch.Tensor], cache, window: int):
    """A step with a cache whose window is full."""
    for _ in range(window):
        model(**inputs, cache=cache)
    return lambda: model(**inputs, cache=cache)


def decision_transformer_step(config: LDMConfig, lanes: int, device: str):
    """A step over the last window."""
    backbone, window = config.backbone_config, config.window
    sizes = DecisionTransformerConfig(
        state_dim=OBSERVATION.shape[0],
        act_dim=ACTION.shape[0],
        hidden_size=backbone.hidden_size,
        n_layer=backbone.num_hidden_layers,
        n_head=backbone.num_attention_heads,
        n_positions=3 * window,
    )
    model = DecisionTransformerModel(sizes).to(device).eval()
    inputs = {
        "states": torch.randn(lanes, window, OBSERVATION.shape[0], device=device),
        "actions": torch.randn(lanes, window, ACTION.shape[0], device=device),
        "rewards": torch.randn(lanes, window, 1, device=device),
        "returns_to_go": torch.randn(lanes, window, 1, device=device),
        "timesteps": torch.arange(window, device=device).expand(lanes, -1),
        "attention_mask": torch.ones(lanes, window, device=device),
    }
    return lambda: model(**inputs)


def limits(config: LDMConfig, weights: int, lanes: int, device: str) -> float:
    """Seconds per step of all lanes that the machine allows: the backbone's weights multiplied once, its cache read once.

    Both are measured on as many matrices as the backbone has, since one alone would stay in the processor's own cache.
    """
    width, inner = config.hidden_size, config.backbone_config.intermediate_size
    matrices = [torch.randn(width, inner, device=device) for _ in range(max(1, round(weights / (width * inner))))]
    rows, row = torch.randn(lanes, width, device=device), torch.randn(1, width, device=device)
    products = seconds(lambda: [rows @ matrix for matrix in matrices], 5, device)
    bandwidth = 4 * width * inner * len(matrices) / seconds(lambda: [row @ matrix for matrix in matrices], 5, device)
    cache = 2 * config.backbone_config.num_hidden_layers * lanes * config.window * width * 4
    return products + cache / bandwidth


@torch.inference_mode()
def main() -> None:
    made = parser(__doc__)
    made.add_argument("--hidden", type=int, default=192)
    made.add_argument("--layers", type=int, default=3)
    made.add_argument("--window", type=int, default=32)
    made.add_argument("--lanes", type=int, nargs="+", default=[1, 8, 64, 256])
    made.add_argument("--repeats", type=int, default=20)
    made.add_argument("--skip", nargs="*", default=[], help="contenders to leave out where they take too long")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    config = sized(args.hidden, args.layers, args.window)
    model, device = model_of(config, args.device), args.device
    weights = sum(parameter.numel() for parameter in model.model.backbone.parameters())
    rows = []
    for lanes in args.lanes:
        window = {name: value.to(device) for name, value in random_segments(config, lanes, args.window, False).items()}
        one = {name: value[:, -1:] if name in PER_STEP else value for name, value in window.items()}
        ring = RingBufferCache(args.window, args.layers, lanes, device)
        contenders = {
            "ring buffer": lambda one=one, ring=ring: cached_step(model, one, ring, args.window),
            "DynamicCache": lambda one=one, lanes=lanes: cached_step(
                model, one, StockCache(config.backbone_config, lanes, device), args.window
            ),
            "re-encoding": lambda window=window: lambda: model(**window),
            "Decision Transformer": lambda lanes=lanes: decision_transformer_step(config, lanes, device),
        }
        limit = limits(config, weights, lanes, device) / lanes
        ours = None
        for name, make in contenders.items():
            if name in args.skip:
                continue
            repeats = args.repeats if "ring" in name or "Cache" in name else max(2, args.repeats // 5)
            each = seconds(make(), repeats, device) / lanes
            ours = ours or each
            share = limit / each if name == "ring buffer" else None
            rows.append(
                {
                    "lanes": lanes,
                    "contender": name,
                    "ms per step": 1e3 * each,
                    "times ours": each / ours,
                    "share of limit": share,
                }
            )
    title = f"Roll-out, {args.layers} x {args.hidden}, window {args.window}, {weights / 1e6:.1f}M parameters in the backbone, float32"
    show(
        title,
        rows,
        args,
        [
            "limit: products with as many weights as the backbone has, plus one read of the cache at the bandwidth of a matrix-vector product."
        ],
    )


if __name__ == "__main__":
    main()
