"""Feedback on the state of the simulator, for domains of the DeepMind Control Suite (Tassa et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded, regulator
from ldm_hf.references.tuning import Number, Tunable
from ldm_hf.spaces import Action, Info, Observation

if TYPE_CHECKING:
    from mujoco import MjData, MjModel

GRAVITY = 9.81  # metres per second squared


class _Suite(Reference):
    """A controller for some domains of the suite.

    Attributes:
        domains: names of the domains, as the suite calls them.
    """

    worlds = ("DmControlCompatibilityV0",)
    domains: tuple[str, ...] = ()

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        if not super().fits(env):
            return False
        package, _, domain = type(inside(env)._env.task).__module__.rpartition(".")
        return package == "dm_control.suite" and domain in cls.domains

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        physics = inside(env)._env.physics
        data = physics.data.ptr
        control = self.control(physics.model.ptr, data, np.array(data.qpos), np.array(data.qvel))
        return bounded(control, env.action_space)

    def control(self, model: MjModel, data: MjData, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """The inputs of the actuators; may change the arrays that it is given.

        Args:
            model: MuJoCo's model.
            data: MuJoCo's state.
            places: ``(model.nq,)``, positions of the joints.
            speeds: ``(model.nv,)``, their speeds.
        """
        raise NotImplementedError


class SuiteRegulator(_Suite):
    """Linear-quadratic regulator (Kalman 1960) about the resting pose.

    Its gains are computed in every episode, since the suite changes its models.

    Args:
        env: not used.
        effort: cost of the square of a control, relative to that of a position.
        speed: cost of the square of a speed, relative to that of a position.
    """

    name = "suite_regulator"
    method = "planner"
    domains: tuple[str, ...] = ("lqr", "point_mass")

    def __init__(self, env: gymnasium.Env, effort: float = 0.01, speed: float = 1.0) -> None:
        self.effort, self.speed = effort, speed

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{"effort": effort, "speed": speed} for effort in (0.01, 0.1) for speed in (0.0, 1.0)]

    def reset(self, env: gymnasium.Env) -> None:
        world = inside(env)
        self.gains = regulator(world._env.physics.model.ptr, world._env._n_sub_steps, self.effort, self.speed)

    def control(self, model: MjModel, data: MjData, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        control: np.ndarray = -self.gains @ np.concatenate([places, speeds])
        return control


class SuiteCartPole(SuiteRegulator):
    """Swings the pole up by its energy (Astrom & Furuta 2000) while the cart stays near the middle, then regulates it.

    Args:
        env: not used.
        near: angle from the top in radians below which it regulates.
        pump: gain on the missing energy.
        centre: gain on the place of the cart while it swings.
        damping: gain on the speed of the cart while it swings.
        effort: cost of the square of a control, relative to that of a position.
        speed: cost of the square of a speed, relative to that of a position.
    """

    name = "suite_cartpole"
    domains: tuple[str, ...] = ("cartpole",)

    def __init__(
        self,
        env: gymnasium.Env,
        near: float = 1.2,
        pump: float = 1.05,
        centre: float = 1.15,
        damping: float = 1.8,
        effort: float = 1.0,
        speed: float = 0.43,
    ) -> None:
        super().__init__(env, effort, speed)
        self.near, self.pump, self.centre, self.damping = near, pump, centre, damping

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        # the suite also has carts with several poles
        return super().fits(env) and bool(inside(env)._env.physics.model.nq == 2)

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{}]

    @classmethod
    def tunable(cls, env: gymnasium.Env) -> Tunable:
        return {
            "near": Number(1.2, 0.2, 0.1, 1.5),
            "pump": Number(1.05, 0.3, factor=True),
            "centre": Number(1.15, 0.3, factor=True),
            "damping": Number(1.8, 0.3, factor=True),
            "effort": Number(1.0, 0.5, factor=True),
            "speed": Number(0.43, 0.5, factor=True),
        }

    def control(self, model: MjModel, data: MjData, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        places[1] = _wrapped(places[1])
        if abs(places[1]) < self.near:
            return super().control(model, data, places, speeds)
        # twice the energy by mass of a pole of one metre; 0 at rest at the top
        energy = speeds[1] ** 2 / 3 + GRAVITY * (np.cos(places[1]) - 1)
        force = self.pump * energy * speeds[1] * np.cos(places[1]) - self.centre * places[0] - self.damping * speeds[0]
        return np.array([force])


class SuitePendulum(SuiteRegulator):
    """Pushes with or against the motion until the energy is that of rest at the top, and regulates there."""

    name = "suite_pendulum"
    domains: tuple[str, ...] = ("pendulum",)
    near = 0.1  # radians from the top
    length = 0.5  # metres

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{}]

    def control(self, model: MjModel, data: MjData, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        places[0] = _wrapped(places[0])
        if abs(places[0]) < self.near:
            return super().control(model, data, places, speeds)
        energy = (self.length * speeds[0]) ** 2 / 2 + GRAVITY * self.length * (np.cos(places[0]) - 1)
        return np.array([1.0 if (speeds[0] > 0) == (energy < 0) else -1.0])


class SuiteReacher(_Suite):
    """Pulls the finger to the target by a damped spring.

    The transposed Jacobian turns the force of the spring into torques of the joints (Hogan 1985).
    """

    name = "suite_reacher"
    domains: tuple[str, ...] = ("reacher",)
    spring, damping = 200.0, 0.05

    def control(self, model: MjModel, data: MjData, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        import mujoco

        finger, target = model.geom("finger").id, model.geom("target").id
        jacobian = np.zeros((3, model.nv))
        mujoco.mj_jacGeom(model, data, jacobian, None, finger)
        force = self.spring * (data.geom_xpos[target] - data.geom_xpos[finger])
        torques: np.ndarray = jacobian.T @ force - self.damping * speeds
        return torques


def _wrapped(angle: float) -> float:
    """The same angle between -pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
