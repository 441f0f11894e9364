#!/usr/bin/env python
"""Shows an environment of your own: the environment, its reference policy, its row, and labelled trajectories of it.

    python examples/custom_environment.py --output outputs/thermostat
    python examples/train_by_hand.py --dataset outputs/thermostat --output outputs/thermostat-ldm
    PYTHONPATH=examples python examples/act.py --model outputs/thermostat-ldm --env custom_environment:Thermostat-v0

docs/your-own-data.md does the same with a row in a YAML file and the ``ldm`` command.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.collection import Plan, collect
from ldm_hf.environments import EnvironmentSpec
from ldm_hf.references import Reference
from ldm_hf.trajectories import open_dataset


class Thermostat(gymnasium.Env):
    """A room in winter: heat (1) or not (0). The reward is minus the distance from 21 degrees."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-50, 50, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Starts at a random temperature."""
        super().reset(seed=seed)
        self.temperature = self.np_random.uniform(5, 30)
        return np.array([self.temperature], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Heats and loses heat for a while."""
        self.temperature += 2.0 * action - 0.05 * self.temperature + self.np_random.normal(0, 0.1)
        return np.array([self.temperature], np.float32), -abs(self.temperature - 21), False, False, {}


class ThermostatRule(Reference):
    """Heats below 21 degrees: what the model learns to do."""

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        """Answers in any state, also in those that the rule itself would not have reached."""
        return np.int64(observation[0] < 21)


if "Thermostat-v0" not in gymnasium.registry:  # this file is run as a script and imported as a module
    gymnasium.register("Thermostat-v0", "custom_environment:Thermostat", max_episode_steps=50)

ROW = EnvironmentSpec(
    name="Thermostat-v0",
    env_id="custom_environment:Thermostat-v0",  # Gymnasium imports the module first
    domain="energy",
    task="Keep the room at 21 degrees.",
    reference="custom_environment:ThermostatRule",
)


def main() -> None:
    """Measures random actions and the reference, then collects trajectories labelled by the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="outputs/thermostat", help="folder of the dataset")
    parser.add_argument("--steps", type=int, default=5000, help="environment steps to collect")
    args = parser.parse_args()

    for error in collect([ROW], Plan(args.output, steps=args.steps)).values():
        raise error
    stream = open_dataset(args.output)[ROW.name]
    scores = {policy: f"{score['mean']:.1f}" for policy, score in stream.info.scores.items()}
    print(f"{stream.num_episodes} episodes in {args.output}; mean returns: {scores}")


if __name__ == "__main__":
    main()
