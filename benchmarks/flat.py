#!/usr/bin/env python
"""Time per step after 100,000 steps against that of the first thousand: ldm-nano in one endless stream.

    python benchmarks/flat.py --json outputs/benchmarks/flat.json

The last steps of the old stream take turns with the first ones (after a window to warm up) of a new agent with the same
model, so that a machine that has become slower meanwhile slows both. The goal is at most 5 % more.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import torch
from common import ACTION, OBSERVATION, model_of, parser, show
from tqdm import trange

from ldm_hf import LDMAgent, LDMConfig, LDMProcessor


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--steps", type=int, default=100_000, help="length of the stream")
    made.add_argument("--compared", type=int, default=1_000, help="steps at the beginning and at the end")
    made.add_argument("--layer-windows", type=int, nargs="+", help="window of each layer, such as 32 32 512")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    config = LDMConfig.preset("ldm-nano", layer_windows=args.layer_windows)
    model, processor = model_of(config, args.device), LDMProcessor.from_config(config)
    observations = np.random.default_rng(0).normal(size=(64, *OBSERVATION.shape)).astype(np.float32)

    def start() -> LDMAgent:
        agent = LDMAgent(model, processor, (OBSERVATION, ACTION))
        agent.act(observations[0])
        for step in range(config.window):
            timed_step(agent, step)
        return agent

    def timed_step(agent: LDMAgent, step: int) -> float:
        started = time.perf_counter()
        # actions come back to the host, so no work is left on a GPU
        agent.act(observations[step % len(observations)], 0.0, False, False)
        return time.perf_counter() - started

    old = start()
    first = [timed_step(old, step) for step in range(args.compared)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for step in trange(args.steps - 2 * args.compared, desc="steps"):
        timed_step(old, step)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    new = start()
    pairs = np.array([[timed_step(old, step), timed_step(new, step)] for step in range(args.compared)])
    rows = [
        {"steps": f"first {args.compared}, at the time", "ms a step": 1e3 * float(np.median(first))},
        {
            "steps": f"first {args.compared} of a new stream, in turns",
            "ms a step": 1e3 * float(np.median(pairs[:, 1])),
        },
        {"steps": f"last {args.compared} of {args.steps}, in turns", "ms a step": 1e3 * float(np.median(pairs[:, 0]))},
    ]
    for row in rows:
        row["last / these"] = rows[-1]["ms a step"] / row["ms a step"]
    show(
        f"Cost per step of an endless stream, ldm-nano, windows {config.windows}, one lane, medians",
        rows,
        args,
        [f"memory grew by {grown} KiB."],
    )


if __name__ == "__main__":
    main()
