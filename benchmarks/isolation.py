#!/usr/bin/env python
"""Overhead of stepping environments in worker processes, one for all lanes or one per lane, against this process.

python benchmarks/isolation.py --lanes 1 16 --json outputs/benchmarks/isolation.json
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from common import parser, show
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ldm_hf.environments import get_spec, make_vec
from ldm_hf.environments.isolation import IsolatedEnv, IsolatedVectorEnv
from ldm_hf.environments.making import recipe_of

GOAL = 150.0  # microseconds per lane at 16 lanes
LOCAL = "this process"
ENVIRONMENTS = {"CartPole-v1": "4 numbers", "BabyAI-GoToRedBallNoDists-pixels": "56 x 56 x 3 pixels, direction, text"}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--lanes", type=int, nargs="+", default=[1, 16], help="numbers of environments")
    made.add_argument("--steps", type=int, default=50, help="steps between two readings of the clock")
    made.add_argument("--repeats", type=int, default=40, help="readings per contender")
    args = made.parse_args()
    rows = []
    for name, observation in ENVIRONMENTS.items():
        recipe = recipe_of(get_spec(name), Path(sys.executable))
        for lanes in args.lanes:
            single = [lambda recipe=recipe: IsolatedEnv(recipe)] * lanes
            contenders = {
                LOCAL: make_vec(name, lanes),
                "one worker": IsolatedVectorEnv(recipe, lanes),
                "a worker a lane": SyncVectorEnv(single, autoreset_mode=AutoresetMode.SAME_STEP),
            }
            times: dict[str, list[float]] = {contender: [] for contender in contenders}
            for repeat in range(args.repeats + 1):  # in turn, so that all meet the same load
                for contender, envs in contenders.items():
                    if repeat == 0:
                        envs.reset(seed=0)
                    envs.action_space.seed(repeat)  # all play the same episodes
                    actions = [envs.action_space.sample() for _ in range(args.steps)]
                    started = time.perf_counter()
                    for action in actions:
                        envs.step(action)
                    times[contender].append((time.perf_counter() - started) / args.steps / lanes)
            for contender, envs in contenders.items():
                envs.close()
                costs = 1e6 * (np.array(times[contender][1:]) - np.array(times[LOCAL][1:]))
                quartiles = np.percentile(costs, [25, 50, 75])
                rows.append(
                    {
                        "environment": name,
                        "observation": observation,
                        "lanes": lanes,
                        "where": contender,
                        "us per lane": 1e6 * float(np.median(times[contender][1:])),
                        "overhead us": None if contender == LOCAL else float(quartiles[1]),
                        "quartiles": "" if contender == LOCAL else f"{quartiles[0]:.0f} to {quartiles[2]:.0f}",
                    }
                )
    show(f"Isolation: time per step and lane; goal: overhead of {GOAL:g} us at 16 lanes", rows, args)


if __name__ == "__main__":
    main()
