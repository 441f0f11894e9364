#!/usr/bin/env python
"""Training of reference policies on a CPU: Stable-Baselines3 (PyTorch) against SBX, the same algorithms in JAX.

    pip install sbx-rl
    python benchmarks/backends.py --json outputs/benchmarks/backends.json

Both train with the settings of `ldm reference`, in the same environments, in turns. Steps per second of CPU time of
this process (other processes of the machine do not count), after JAX has compiled; a column of its own has the time of
the first updates, compilation included. "environment's share" is the share of Stable-Baselines3's time that the
environment's own steps take; with environments that cost nothing (what EnvPool aims at), training would be
1 / (1 - share) times as fast. Without sbx-rl, only this share is measured.
"""

from __future__ import annotations

import importlib
import importlib.util
import time

import numpy as np
import torch
from common import Row, cpu_seconds, parser, show
from stable_baselines3.common.vec_env import DummyVecEnv

from ldm_hf.environments import get_spec, make
from ldm_hf.references.learned.algorithms import SETTINGS, configurations, make_model
from ldm_hf.references.learned.spaces import Adapted, Adapter
from ldm_hf.spaces import Action, Info, Observation

RUNS = [("CartPole-v1", "ppo"), ("LunarLander-v3-short", "ppo"), ("Pendulum-v1", "sac"), ("Pendulum-v1", "tqc")]
ROUNDS = 3
GOAL = 3.0  # speed-up; a smaller one is not worth a second backend
SBX = importlib.util.find_spec("sbx") is not None


class Timed(Adapted):
    """Adds up the CPU time of its steps, over all environments."""

    spent = 0.0

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        started = time.process_time()
        result = super().step(action)
        Timed.spent += time.process_time() - started
        return result


def compare(name: str, algorithm: str, steps: int) -> Row:
    """Both backends with one algorithm in one environment."""
    env = make(get_spec(name))
    adapter = Adapter(env.observation_space, env.action_space)
    (configuration,) = configurations(adapter, {"algorithm": algorithm})

    def vector() -> DummyVecEnv:
        return DummyVecEnv([lambda: Timed(make(get_spec(name)), adapter)] * configuration["n_envs"])

    models = {"Stable-Baselines3": make_model(configuration, adapter, vector(), 0)}
    settings = {key: configuration[key] for key in SETTINGS[algorithm]}
    if SBX:
        build = getattr(importlib.import_module("sbx"), algorithm.upper())
        widths = {"net_arch": configuration["net_arch"]}
        models["SBX"] = build("MlpPolicy", vector(), policy_kwargs=widths, seed=0, **settings)
    # a few updates, since JAX compiles in the first one
    warm = settings.get("learning_starts", 0) + 2 * configuration["n_envs"] * settings.get("n_steps", 32)
    first = {backend: cpu_seconds(lambda model=model: model.learn(warm)) for backend, model in models.items()}
    rates: dict[str, list[float]] = {backend: [] for backend in models}
    shares = []
    for _ in range(ROUNDS):
        for backend, model in models.items():
            Timed.spent, before = 0.0, model.num_timesteps
            # updates for real-valued actions (SAC, TQC) cost so much more that fewer give as precise a time
            part = steps // ROUNDS // (1 if algorithm == "ppo" else 8)
            spent = cpu_seconds(lambda model=model, part=part: model.learn(part, reset_num_timesteps=False))
            rates[backend].append((model.num_timesteps - before) / spent)
            if backend == "Stable-Baselines3":
                shares.append(Timed.spent / spent)
    speed = {backend: float(np.median(values)) for backend, values in rates.items()}
    share = float(np.median(shares))
    return {
        "environment": name,
        "algorithm": algorithm,
        "Stable-Baselines3": speed["Stable-Baselines3"],
        "SBX": speed.get("SBX"),
        "times as fast": speed["SBX"] / speed["Stable-Baselines3"] if SBX else None,
        "first updates, s": first["Stable-Baselines3"],
        "of SBX, s": first.get("SBX"),
        "environment's share": share,
        "with free environments": 1 / (1 - share),
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--ids", nargs="+", default=list(dict.fromkeys(name for name, _ in RUNS)), help="environments")
    made.add_argument("--steps", type=int, default=48_000, help="training steps of PPO; SAC and TQC take an eighth")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    rows = [compare(name, algorithm, args.steps) for name, algorithm in RUNS if name in args.ids]
    ratios = [row["times as fast"] for row in rows if SBX]
    notes = [f"{GOAL:g} times as fast or more: {sum(ratio >= GOAL for ratio in ratios)} of {len(ratios)}"]
    show(
        "Training reference policies: steps per second of CPU time",
        rows,
        args,
        notes if SBX else ["SBX: skipped (pip install sbx-rl)"],
    )


if __name__ == "__main__":
    main()
