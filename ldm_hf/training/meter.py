"""Speed of a run, use of its device, and loss by domain."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from accelerate import Accelerator

from ..modeling_ldm import LDMForActionPrediction

SIDES = {"cpu": 1024, "cuda": 8192}  # side of the matrices whose product measures the device's speed


def flops_per_token(model: LDMForActionPrediction) -> float:
    """FLOPs of one token, forward and backward: 6 per weight, and attention (Chowdhery et al. 2022, appendix B)."""
    body, config = model.model, model.config
    weights = sum(p.numel() for part in (body.backbone, body.mlp) for p in part.parameters())
    return float(6 * weights + 12 * config.hidden_size * sum(config.windows))


def peak_flops(device: torch.device, half: bool) -> float:
    """FLOP/s of a product of large square matrices on one device, in bf16 if ``half``."""
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
    """Counts what happens between two lines of the log, over all processes.

    Args:
        accelerator: accelerator of this process.
        domains: domain of each environment.
        flops: FLOPs of a token.
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
        """Counts a micro-batch.

        Args:
            names: name of the environment of each row.
            losses: loss of each row, ``(B,)``; stays on its device until a line is written.
            tokens: number of tokens in the batch, padding included.
            transitions: number of tokens that are not padding.
            waited: seconds spent waiting for the batch.
        """
        self._names += names
        self._losses.append(losses.detach())
        self.tokens += tokens
        self.transitions += transitions
        self.waited += waited

    def line(self) -> dict[str, float]:
        """Mean losses, speeds per second, share of the time spent waiting for data, and MFU, since the last line."""
        losses = torch.cat(self._losses).double().cpu().numpy()
        seconds, known = time.perf_counter() - self.started, np.isfinite(losses)
        rows = np.array([self._number[name] for name in self._names])[known]
        sums = np.bincount(rows, losses[known], len(self.domains))
        counts = np.bincount(rows, minlength=len(self.domains))
        totals = np.concatenate([sums, counts, [self.tokens, self.transitions, self.waited / seconds]])
        processes = self.accelerator.num_processes
        if processes > 1:
            tensor = torch.from_numpy(totals).to(self.accelerator.device)
            totals = self.accelerator.reduce(tensor, "sum").cpu().numpy()
        sums, counts, (tokens, transitions, waiting) = np.split(totals, [len(sums), 2 * len(sums)])
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
