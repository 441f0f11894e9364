#!/usr/bin/env python
"""Share of an agent's step outside of the model: encoding, choosing, decoding, bookkeeping; measured with ldm-nano.

    python benchmarks/overhead.py --json outputs/benchmarks/overhead.json

The agent does not know the environment, so that it keeps running statistics, too. The goal is at most 15 % at 64 lanes.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from common import ACTION, OBSERVATION, model_of, parser, show
from gymnasium import spaces

from ldm_hf import LDMAgent, LDMConfig, LDMProcessor

SYMBOLS = spaces.Dict({"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)})
CASES = {"17 numbers -> 6 numbers": (OBSERVATION, ACTION), "7x7x3 symbols -> 7 choices": (SYMBOLS, spaces.Discrete(7))}


def batch_of(space: spaces.Space, lanes: int) -> dict | np.ndarray:
    """Random observations, laid out as those of a vector environment."""
    if isinstance(space, spaces.Dict):
        return {name: batch_of(child, lanes) for name, child in space.items()}
    return np.stack([space.sample() for _ in range(lanes)])


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--lanes", type=int, nargs="+", default=[1, 64], help="numbers of environments")
    made.add_argument("--steps", type=int, default=300, help="steps to measure")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    config = LDMConfig.preset("ldm-nano")
    model, processor = model_of(config, args.device), LDMProcessor.from_config(config)
    marks: list[float] = []
    model.register_forward_pre_hook(lambda *_: marks.append(time.perf_counter()))
    model.register_forward_hook(lambda *_: marks.append(time.perf_counter()))
    rows = []
    for name, pair in CASES.items():
        for lanes in args.lanes:
            agent = LDMAgent(model, processor, pair, num_envs=lanes)
            observations = [batch_of(pair[0], lanes) for _ in range(8)]
            rewards, ends = np.random.default_rng(0).normal(size=lanes), np.zeros(lanes, bool)
            agent.act(observations[0])
            times = []
            for step in range(args.steps):
                marks.clear()
                started = time.perf_counter()
                agent.act(observations[step % len(observations)], rewards, ends, ends)
                whole = time.perf_counter() - started
                times.append((whole, marks[1] - marks[0]))
            whole, within = np.median(times, axis=0)
            rows.append(
                {
                    "spaces": name,
                    "lanes": lanes,
                    "ms a step": 1e3 * whole,
                    "ms in the model": 1e3 * within,
                    "share outside": (whole - within) / whole,
                }
            )
    show("An agent's step, ldm-nano, fp32", rows, args)


if __name__ == "__main__":
    main()
