#!/usr/bin/env python
"""Transitions per second of a training step: one token a step against layouts of two and three, at equal parameters and context.

    python benchmarks/training.py --threads 2 --json outputs/benchmarks/training.json

The layouts of two tokens (observation, action) and three (return, observation, action) run the same backbone over two and three times as many
tokens with windows of as many steps; stems and head are the same.
"""

from __future__ import annotations

import torch
from common import model_of, parser, random_segments, seconds, show, sized
from torch import nn

from ldm_hf import LDMConfig


class ManyTokens(nn.Module):
    """A backbone that sees every step as several tokens and answers at the last of them."""

    def __init__(self, backbone: nn.Module, tokens: int) -> None:
        super().__init__()
        self.backbone, self.tokens = backbone, tokens

    def forward(self, inputs_embeds: torch.Tensor, **kwargs):
        outputs = self.backbone(inputs_embeds=inputs_embeds.repeat_interleave(self.tokens, dim=1), **kwargs)
        outputs.last_hidden_state = outputs.last_hidden_state[:, self.tokens - 1 :: self.tokens]
        return outputs


def flops_per_step(config: LDMConfig, parameters: int) -> float:
    """Forward and backward of one token: 6 per weight, and attention to a window (Chowdhery et al. 2022, appendix B)."""
    layers = config.backbone_config.num_hidden_layers
    return 6 * parameters + 12 * layers * config.hidden_size * config.window


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--hidden", type=int, default=192)
    made.add_argument("--layers", type=int, default=3)
    made.add_argument("--window", type=int, default=32)
    made.add_argument("--segment", type=int, default=128)
    made.add_argument("--rows", type=int, default=16)
    made.add_argument("--repeats", type=int, default=5)
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    size = 1024
    square = torch.randn(size, size, device=args.device)
    peak = 2 * size**3 / seconds(lambda: square @ square, 10, args.device)
    rows = []
    for tokens in (1, 2, 3):
        config = sized(args.hidden, args.layers, args.window * tokens)
        model = model_of(config, args.device).train()
        parameters = sum(p.numel() for p in [*model.model.backbone.parameters(), *model.model.mlp.parameters()])
        if tokens > 1:
            model.model.backbone = ManyTokens(model.model.backbone, tokens)
        batch = {k: v.to(args.device) for k, v in random_segments(config, args.rows, args.segment).items()}
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)

        def step(model=model, batch=batch, optimizer=optimizer) -> None:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        rate = args.rows * args.segment / seconds(step, args.repeats, args.device)
        mfu = rate * flops_per_step(config, parameters) / peak if tokens == 1 else None
        rows.append(
            {
                "tokens a step": tokens,
                "transitions/s": rate,
                "ours is faster by": rows[0]["transitions/s"] / rate if rows else 1.0,
                "MFU": mfu,
            }
        )
    title = f"Training, {args.layers} x {args.hidden}, {args.rows} segments of {args.segment} steps, window {args.window} steps, float32"
    show(title, rows, args, [f"MFU: of {peak / 1e9:.0f} GFLOP/s measured for a {size} x {size} product in this run."])


if __name__ == "__main__":
    main()
