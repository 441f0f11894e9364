#!/usr/bin/env python
"""Steps per second that are encoded for training on one core: numbers and a symbolic grid.

python benchmarks/encoding.py --json outputs/benchmarks/encoding.json
"""

from __future__ import annotations

import numpy as np
from common import parser, seconds, show
from gymnasium import spaces

from ldm_hf import LDMConfig, LDMProcessor
from ldm_hf.layout_ldm import EnvironmentLayout

STEPS = 8192
GOALS = {"17 numbers": 1_000_000, "7x7x3 symbols, direction": 200_000}


def main() -> None:
    args = parser(__doc__).parse_args()
    rng = np.random.default_rng(0)
    processor = LDMProcessor.from_config(LDMConfig.preset("ldm-nano"))
    grid = spaces.Dict({"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)})
    symbols = {"image": rng.integers(0, 11, (STEPS, 7, 7, 3), np.uint8), "direction": rng.integers(0, 4, STEPS)}
    numbers = {"": rng.normal(size=(STEPS, 17)).astype(np.float32)}
    cases = {
        "17 numbers": (spaces.Box(-np.inf, np.inf, (17,)), spaces.Box(-1, 1, (6,)), numbers),
        "7x7x3 symbols, direction": (grid, spaces.Discrete(7), symbols),
    }
    rows = []
    for name, (observation_space, action_space, observation) in cases.items():
        layout = EnvironmentLayout(processor.sizes, observation_space, action_space)
        actions = np.stack([action_space.sample() for _ in range(STEPS)])
        steps = {
            "observation": observation,
            "action": {"": actions},
            "label": {"": actions},
            "reward": rng.normal(size=STEPS),
            "terminated": np.zeros(STEPS, bool),
            "truncated": np.zeros(STEPS, bool),
        }
        rate = STEPS / seconds(lambda layout=layout, steps=steps: layout.encode_segment(steps), 10)
        rows.append({"observation": name, "steps/s": rate, "goal": float(GOALS[name])})
    show("Encoding of segments, actions and history included", rows, args)


if __name__ == "__main__":
    main()
