"""The classical controllers of electric drives that gym-electric-motor (Traue et al. 2022) ships."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import gymnasium
import numpy as np

from ldm_hf.environments.making import quiet
from ldm_hf.references.base import Reference
from ldm_hf.references.control import bounded
from ldm_hf.spaces import Action, Info, Observation

DIAGRAMS = "gem_controllers.block_diagrams.block_diagram"


class DriveController(Reference):
    """A cascade of PI controllers for current, torque and speed in field coordinates.

    The library tunes it from the parameters of the motor.
    """

    name = "drive_controller"
    method = "scripted"
    worlds = ("ElectricMotorEnvironment",)

    def __init__(self, env: gymnasium.Env) -> None:
        assert env.spec is not None
        controllers = _controllers()
        with quiet():
            self.controller = controllers.GemController.make(
                env.unwrapped, env.spec.id, block_diagram=False, plot_references=False
            )

    def reset(self, env: gymnasium.Env) -> None:
        self.controller.reset()

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        space = env.action_space
        action = np.asarray(self.controller.control(*observation))
        if isinstance(space, gymnasium.spaces.Box):
            return bounded(action, space)
        return action.astype(space.dtype) if space.shape else np.int64(action.item())


def _controllers() -> ModuleType:
    """The library's controllers without the module that draws them.

    What draws them needs Qt and LaTeX, and nothing is drawn here.
    """
    diagrams = ModuleType(DIAGRAMS)
    vars(diagrams)["build_block_diagram"] = None  # imported by name
    sys.modules.setdefault(DIAGRAMS, diagrams)
    with quiet():
        return importlib.import_module("gem_controllers")
