#!/usr/bin/env python
"""Training throughput in transitions per second: one token per step against layouts of two and three tokens.

    python benchmarks/training.py --threads 2 --json outputs/benchmarks/training.json
    python benchmarks/training.py --preset ldm-small --rows 4 --json outputs/benchmarks/training-small.json
    python benchmarks/training.py --preset ldm-base --rows 16 --device cuda --dtype bf16 --compile

The layouts of two tokens (observation, action) and three (return, observation, action) run the same backbone over two
and three times as many tokens with windows of as many steps; parameters, stems and head are the same.

MFU (model FLOPs utilisation) is the share of the machine's arithmetic that a step's necessary products use. Both limits
are measured in the same run: the rate of a large square product, and that of products with the model's own matrices,
which are smaller.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable

import torch
from common import DTYPES, add_sizes, model_of, parser, race, random_segments, show, sized
from torch import nn

from ldm_hf import LDMConfig
from ldm_hf.training.meter import flops_per_token
from ldm_hf.training.optimisation import compile_for_training

SQUARE, BACKBONE = "square product", "the backbone's products"
SIDE = {"cpu": 2048, "cuda": 8192}  # rows and columns of the square product


class ManyTokens(nn.Module):
    """A backbone that sees every step as several tokens and answers at the last of them."""

    def __init__(self, backbone: nn.Module, tokens: int) -> None:
        super().__init__()
        self.backbone, self.tokens, self.config = backbone, tokens, backbone.config

    def forward(self, inputs_embeds: torch.Tensor, **kwargs):
        outputs = self.backbone(inputs_embeds=inputs_embeds.repeat_interleave(self.tokens, dim=1), **kwargs)
        outputs.last_hidden_state = outputs.last_hidden_state[:, self.tokens - 1 :: self.tokens]
        return outputs


def config_of(args: argparse.Namespace, tokens: int) -> LDMConfig:
    """The config whose window holds the same number of steps at ``tokens`` tokens each."""
    if args.preset is None:
        return sized(args.hidden, args.layers, args.window * tokens)
    return LDMConfig.preset(args.preset, window=LDMConfig.preset(args.preset).window * tokens)


def training_step(args: argparse.Namespace, config: LDMConfig, tokens: int) -> tuple[Callable[[], object], nn.Module]:
    """A training step with update, and the model."""
    model = model_of(config, args.device).train()
    if args.compile:
        compile_for_training(model, torch.device(args.device))
    if tokens > 1:
        model.model.backbone = ManyTokens(model.model.backbone, tokens)
    steps = args.segment or 4 * config.window // tokens
    batch = {name: value.to(args.device) for name, value in random_segments(config, args.rows, steps).items()}
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    half = args.dtype != "fp32"  # as in accelerate: float32 weights, half-precision products

    def step() -> None:
        with torch.autocast(torch.device(args.device).type, DTYPES[args.dtype]) if half else contextlib.nullcontext():
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, model


def limits(
    args: argparse.Namespace, model: nn.Module, rows: int
) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """Products that show what the machine can do, and their FLOPs."""
    dtype, side = DTYPES[args.dtype], args.side or SIDE[torch.device(args.device).type]
    square = torch.randn(side, side, device=args.device, dtype=dtype)
    shapes = [layer.weight.shape for layer in model.model.backbone.modules() if isinstance(layer, nn.Linear)]
    pairs = [
        (
            torch.randn(rows, width, device=args.device, dtype=dtype),
            torch.randn(out, width, device=args.device, dtype=dtype),
        )
        for out, width in dict.fromkeys(shapes)
    ]
    counts = {shape: shapes.count(shape) for shape in dict.fromkeys(shapes)}

    def backbone() -> None:
        for (x, weight), count in zip(pairs, counts.values(), strict=True):
            for _ in range(count):
                nn.functional.linear(x, weight)

    calls = {SQUARE: torch.inference_mode()(lambda: square @ square), BACKBONE: torch.inference_mode()(backbone)}
    return calls, {SQUARE: 2 * side**3, BACKBONE: 2 * rows * sum(out * width for out, width in shapes)}


def main() -> None:
    made = parser(__doc__)
    add_sizes(made)
    made.add_argument("--preset", help="ldm-nano, ldm-small or ldm-base instead of --hidden, --layers, --window")
    made.add_argument("--segment", type=int, help="steps per segment; by default four windows")
    made.add_argument("--rows", type=int, default=16, help="segments per batch")
    made.add_argument(
        "--most-tokens", type=int, default=3, help="largest number of tokens per step; 1 measures only the MFU"
    )
    made.add_argument("--seconds", type=float, default=20, help="measuring time of each layout")
    made.add_argument("--side", type=int, help="rows of the square product; by default 2,048, on a GPU 8,192")
    made.add_argument(
        "--compile",
        action="store_true",
        help="as `--compile` of the training scripts does (on CPUs this needs a C++ compiler)",
    )
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    config = config_of(args, 1)
    made_steps = {
        tokens: training_step(args, config_of(args, tokens), tokens) for tokens in range(1, args.most_tokens + 1)
    }
    model = made_steps[1][1]
    steps = args.rows * (args.segment or 4 * config.window)
    products, flops = limits(args, model, steps)
    times = race(
        {**{str(tokens): step for tokens, (step, _) in made_steps.items()}, **products}, args.seconds, args.device
    )
    peaks = {name: flops[name] / times[name] for name in products}
    needed = steps * flops_per_token(model)
    rows = [
        {
            "tokens a step": tokens,
            "transitions/s": steps / times[str(tokens)],
            "ours is faster by": times[str(tokens)] / times["1"],
            **{f"MFU, {name}": needed / times["1"] / peak if tokens == 1 else None for name, peak in peaks.items()},
        }
        for tokens in made_steps
    ]
    size = args.preset or f"{args.layers} x {args.hidden}"
    batch = f"{args.rows} segments of {steps // args.rows} steps"
    title = f"Training, {size}, {batch}, window {config.window} steps, {args.dtype}"
    note = ", ".join(f"{peak / 1e9:,.0f} GFLOP/s ({name})" for name, peak in peaks.items())
    show(title, rows, args, [f"MFU: against {note}, measured in this run."])


if __name__ == "__main__":
    main()
