"""Electric drives: the classical controllers that gym-electric-motor (Traue et al. 2022) ships."""

from __future__ import annotations

import sys
import types
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.environments.making import quiet
from ldm_hf.references.base import Reference

DIAGRAMS = "control_block_diagram"


class DriveController(Reference):
    """A cascade of PI controllers for current, torque and speed in field coordinates, tuned by the library from the motor's parameters."""

    name = "drive_controller"
    method = "scripted"
    worlds = ("ElectricMotorEnvironment",)

    def __init__(self, env: gymnasium.Env) -> None:
        spec: Any = env.spec
        controllers = _controllers()
        with quiet():
            self.controller: Any = controllers.GemController.make(
                env.unwrapped, spec.id, block_diagram=False, plot_references=False
            )

    def reset(self, env: gymnasium.Env) -> None:
        self.controller.reset()

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        space: Any = env.action_space
        action = np.asarray(self.controller.control(*observation))
        if isinstance(space, gymnasium.spaces.Box):
            return np.clip(action, space.low, space.high).astype(space.dtype)
        return action.astype(space.dtype) if space.shape else np.int64(action.item())


class _Absent(types.ModuleType):
    """Has any name, so that it can be imported from."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _controllers() -> Any:
    """The library's controllers, without the package that draws them: it brings Qt and LaTeX, and nothing is drawn here."""
    names = [DIAGRAMS, f"{DIAGRAMS}.components", f"{DIAGRAMS}.predefined_components"]
    missing = [name for name in names if name not in sys.modules]
    sys.modules |= {name: _Absent(name) for name in missing}
    try:
        with quiet():
            import gem_controllers
    finally:
        for name in missing:
            del sys.modules[name]
    return gem_controllers
