"""Controllers of electric drives: those that gym-electric-motor (Traue et al. 2022) ships, and predictive control."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.environments.building import Kwargs
from ldm_hf.environments.making import quiet
from ldm_hf.references.base import Reference, inside
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


class DrivePredictor(Reference):
    """Predictive control: each switching state is tried in the drive's equations, and the best one is taken.

    One step is predicted (finite control set model predictive control, Rodriguez and Cortes 2012,
    doi:10.1002/9781119941446). Continuous duty cycles come from a linear model of how they move what is controlled. No
    speed is controlled: within the 5 ms of an episode none can be changed.

    Args:
        env: environment whose equations are used; not the one of the roll-outs.
        caution: cost of the mean square of all currents, as shares of their limits.
    """

    name = "drive_predictor"
    method = "planner"
    worlds = ("ElectricMotorEnvironment",)

    def __init__(self, env: gymnasium.Env, caution: float = 0.01) -> None:
        self.drive = inside(env)
        self.drive.reset()
        names = list(self.drive.physical_system.state_names)
        self.controlled = [names.index(name) for name in self.drive.reference_generator.reference_names]
        self.currents = [index for index, name in enumerate(names) if name.split("_")[0] == "i"]
        self.caution = caution
        self.goal = np.zeros(len(names))
        self.choices = list(_choices(env.action_space))
        self.last = np.zeros(env.action_space.shape or ())

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[Kwargs]:
        return [{"caution": caution} for caution in (0.01, 0.3)]

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and "omega" not in inside(env).reference_generator.reference_names

    def reset(self, env: gymnasium.Env) -> None:
        self.last = np.zeros_like(self.last)

    def executed(self, action: Action) -> None:
        self.last = np.asarray(action)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        self.goal[self.controlled] = observation[1]
        start = inside(env).physical_system.unwrapped
        space = env.action_space
        choices = list(self._duty_cycles(start, space)) if isinstance(space, spaces.Box) else self.choices
        values = [self._value(self._predicted(start, action)) for action in choices]
        action = choices[int(np.argmax(values))]
        self.executed(action)
        return bounded(action, space) if isinstance(space, spaces.Box) else action

    def _predicted(self, start: Any, action: Action) -> np.ndarray:
        """The state after one step, as shares of its limits."""
        system = self.drive.physical_system.unwrapped
        system._ode_solver.set_initial_value(np.array(start._ode_solver.y), start._ode_solver.t)
        system._t, system._k = start._t, start._k
        return np.array(self.drive.physical_system.simulate(action))

    def _value(self, state: np.ndarray) -> float:
        """The reward of a state, less the cost of its currents and of a limit that is passed."""
        cost = self.caution * float(np.mean(state[self.currents] ** 2))
        broken = float(self.drive.constraint_monitor.check_constraints(state))
        return float(self.drive.reward_function.reward(state, self.goal)) - cost - 100 * broken

    def _duty_cycles(self, start: Any, space: spaces.Box) -> Iterator[np.ndarray]:
        """Duty cycles worth a try: of the linear model, half the way to them, the last ones, none, and all corners."""
        low, high = np.asarray(space.low, float), np.asarray(space.high, float)
        inner = 0.05 * (high - low)
        base = np.clip(self.last, low + inner, high - inner)

        def controlled(action: np.ndarray) -> np.ndarray:
            return self._predicted(start, action)[self.controlled]

        here = controlled(base)
        slopes = np.stack([(controlled(base + step) - here) / step.sum() for step in np.diag(inner)], axis=1)
        wanted = self.goal[self.controlled] - here
        effort = 1e-3 * np.linalg.norm(slopes) * np.eye(len(base))  # of several ways, the one that changes least
        change = np.linalg.lstsq(
            np.vstack([slopes, effort]), np.concatenate([wanted, np.zeros(len(base))]), rcond=None
        )[0]
        for candidate in (base + change, base + change / 2, base, np.zeros_like(base)):
            yield np.clip(candidate, low, high)
        yield from (np.array(corner) for corner in itertools.product(*zip(low, high, strict=True)))


def _choices(space: gymnasium.Space[Any]) -> Iterator[Action]:
    """All switching states of a finite converter; none of a continuous one."""
    if isinstance(space, spaces.Discrete):
        yield from (np.int64(choice) for choice in range(int(space.n)))
    elif isinstance(space, spaces.MultiDiscrete):
        yield from (np.array(choice, space.dtype) for choice in itertools.product(*map(range, space.nvec)))


def _controllers() -> ModuleType:
    """The library's controllers without the module that draws them.

    What draws them needs Qt and LaTeX, and nothing is drawn here.
    """
    diagrams = ModuleType(DIAGRAMS)
    vars(diagrams)["build_block_diagram"] = None  # imported by name
    sys.modules.setdefault(DIAGRAMS, diagrams)
    with quiet():
        return importlib.import_module("gem_controllers")
