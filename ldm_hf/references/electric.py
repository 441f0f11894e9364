"""Electric drives: the classical controllers that gym-electric-motor (Traue et al. 2022) ships."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ..environments.making import quiet
from .base import Reference


class DriveController(Reference):
    """A cascade of PI controllers for current, torque and speed in field coordinates, tuned by the library from the motor's parameters."""

    method = "scripted"
    worlds = ("ElectricMotorEnvironment",)

    def __init__(self, env: gymnasium.Env) -> None:
        with quiet():
            from gem_controllers import GemController

            spec: Any = env.spec
            self.controller: Any = GemController.make(
                env.unwrapped, spec.id, block_diagram=False, plot_references=False
            )

    def reset(self, env: gymnasium.Env) -> None:
        self.controller.reset()

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        space = env.action_space
        action = np.asarray(self.controller.control(*observation))
        if isinstance(space, gymnasium.spaces.Box):
            return np.clip(action, space.low, space.high).astype(space.dtype)
        return action.astype(space.dtype) if space.shape else np.int64(action.item())
