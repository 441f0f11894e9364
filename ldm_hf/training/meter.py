"""How fast a run is, how well it uses its device, and what the loss is made of."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from accelerate import Accelerator

from ..modeling_ldm import LDMForActionPrediction

SIDES = {"cpu": 1024, "cuda": 8192}  # of the square product that the device's speed is measured with


def flops_per_token(model: LDMForActionPrediction) -> float:
    """Forward and backward of one token: 6 per weight, and attention to a window (Chowdhery et al. 2022, appendix B)."""
    body, config = model.model, model.config
    weights = sum(p.numel() for part in (body.backbone, body.mlp) for p in part.parameters())
    layers = config.layer_kinds
    attention = sum("attention" in kind and kind != "linear_attention" for kind in layers)
    return 6 * weights + 12 * attention * config.hidden_size * config.window


def peak_flops(device: torch.device, half: bool) -> float:
    """FLOP/s of a large square product on one device, in bf16 if ``half``."""
    side = SIDES.get(device.type, 2048)
    square = torch.randn(side, side, device=device, dtype=torch.bfloat16 if half else torch.float32)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        square @ square
        if device.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * side**3 / min(times)


class Meter:
    """What happened since the last line of the log, over all processes.

    Args:
        accelerator: of this process.
        domains: of each environment.
        flops: of a token.
        peak: FLOP/s of one device.
    """

    def __init__(self, accelerator: Accelerator, domains: Mapping[str, str], flops: float, peak: float) -> None:
        self.accelerator, self.flops, self.peak = accelerator, flops, peak
        self.domains = sorted(set(domains.values()))
        self._number = {name: self.domains.index(domain) for name, domain in domains.items()}
        self._reset()

    def _reset(self) -> None:
        self.updates = self.tokens = self.transitions = 0
        self.waited, self.started = 0.0, time.perf_counter()
        self._names: list[str] = []
        self._losses: list[torch.Tensor] = []

    def add(self, names: list[str], losses: torch.Tensor, tokens: int, transitions: int, waited: float) -> None:
        """A micro-batch.

        Args:
            names: of the environment of each row.
            losses: ``(B,)``; stays where it is until a line is written.
            tokens: places in the batch, padding included.
            transitions: steps of environments among them.
            waited: seconds until it was there.
        """
        self._names += names
        self._losses.append(losses.detach())
        self.tokens += tokens
        self.transitions += transitions
        self.waited += waited

    def line(self) -> dict[str, float]:
        """Mean losses, speeds per second, share of the time waited for data, and MFU, since the last line."""
        losses = torch.cat(self._losses).double().cpu().numpy()
        seconds, known = time.perf_counter() - self.started, np.isfinite(losses)
        rows = np.array([self._number[name] for name in self._names])[known]
        sums = np.bincount(rows, losses[known], len(self.domains))
        counts = np.bincount(rows, minlength=len(self.domains))
        own = np.concatenate([sums, counts, [self.tokens, self.transitions, self.waited / seconds]])
        processes = self.accelerator.num_processes
        if processes > 1:
            own = self.accelerator.reduce(torch.from_numpy(own).to(self.accelerator.device), "sum").cpu().numpy()
        sums, counts, (tokens, transitions, waiting) = np.split(own, [len(sums), 2 * len(sums)])
        line = {
            "loss": sums.sum() / counts.sum(),
            "updates_per_second": self.updates / seconds,
            "transitions_per_second": transitions / seconds,
            "tokens_per_second": tokens / seconds,
            "mfu": tokens * self.flops / (seconds * self.peak * processes),
            "waiting": waiting / processes,
            **{f"loss/{self.domains[i]}": sums[i] / counts[i] for i in np.flatnonzero(counts)},
        }
        self._reset()
        return {name: float(value) for name, value in line.items()}
