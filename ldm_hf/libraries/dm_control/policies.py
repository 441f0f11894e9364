"""DeepMind's Control Suite (Tassa et al. 2018): feedback on the state of the simulator."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference
from ldm_hf.references.control import bounded, regulator

GRAVITY = 9.81


class _Suite(Reference):
    """Of some domains of the suite.

    Attributes:
        domains: as the suite calls them.
    """

    worlds = ("DmControlCompatibilityV0",)
    domains: tuple[str, ...] = ()

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        if not super().fits(env):
            return False
        world: Any = env.unwrapped
        package, _, domain = type(world._env.task).__module__.rpartition(".")
        return package == "dm_control.suite" and domain in cls.domains

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        physics: Any = env.unwrapped._env.physics  # type: ignore[attr-defined]
        data = physics.data.ptr
        return bounded(
            self.control(physics.model.ptr, data, np.array(data.qpos), np.array(data.qvel)), env.action_space
        )

    def control(self, model: Any, data: Any, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        """What the actuators do; may change the arrays that it is given."""
        raise NotImplementedError


class SuiteRegulator(_Suite):
    """Linear-quadratic regulator (Kalman 1960) about the resting pose; made anew in every episode, since the suite changes its models.

    Args:
        env: not used.
        effort: what the square of a control counts, beside that of a position.
        speed: what the square of a speed counts.
    """

    name = "suite_regulator"
    method = "planner"
    domains: tuple[str, ...] = ("lqr", "point_mass")

    def __init__(self, env: gymnasium.Env, effort: float = 0.01, speed: float = 1.0) -> None:
        self.effort, self.speed = effort, speed

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        return [{"effort": effort, "speed": speed} for effort in (0.01, 0.1) for speed in (0.0, 1.0)]

    def reset(self, env: gymnasium.Env) -> None:
        world: Any = env.unwrapped
        self.gains = regulator(world._env.physics.model.ptr, world._env._n_sub_steps, self.effort, self.speed)

    def control(self, model: Any, data: Any, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        return -self.gains @ np.concatenate([places, speeds])


class SuiteCartPole(SuiteRegulator):
    """Swings the pole up by its energy (Astrom & Furuta 2000), then regulates it."""

    name = "suite_cartpole"
    domains: tuple[str, ...] = ("cartpole",)
    near = 0.5  # radians from the top
    pump = 2.0

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.unwrapped._env.physics.model.nq == 2  # type: ignore[attr-defined]  # not of several poles

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        return [{}]

    def control(self, model: Any, data: Any, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        places[1] = _wrapped(places[1])
        if abs(places[1]) < self.near:
            return super().control(model, data, places, speeds)
        energy = speeds[1] ** 2 / 3 + GRAVITY * (
            np.cos(places[1]) - 1
        )  # of a pole of one metre, 0 at rest at the top; twice, by mass
        force = self.pump * energy * speeds[1] * np.cos(places[1]) - 0.3 * places[0] - 0.1 * speeds[0]
        return np.array([force])


class SuitePendulum(SuiteRegulator):
    """Turns with or against the motion until the energy is that of rest at the top, and regulates there."""

    name = "suite_pendulum"
    domains: tuple[str, ...] = ("pendulum",)
    near = 0.1
    length = 0.5  # metres

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        return [{}]

    def control(self, model: Any, data: Any, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        places[0] = _wrapped(places[0])
        if abs(places[0]) < self.near:
            return super().control(model, data, places, speeds)
        energy = (self.length * speeds[0]) ** 2 / 2 + GRAVITY * self.length * (np.cos(places[0]) - 1)
        return np.array([1.0 if (speeds[0] > 0) == (energy < 0) else -1.0])


class SuiteReacher(_Suite):
    """Pulls the finger to the target: the force of a damped spring, as torques of the joints by the transposed Jacobian (Hogan 1985)."""

    name = "suite_reacher"
    domains: tuple[str, ...] = ("reacher",)
    spring, damping = 200.0, 0.05

    def control(self, model: Any, data: Any, places: np.ndarray, speeds: np.ndarray) -> np.ndarray:
        import mujoco

        finger, target = model.geom("finger").id, model.geom("target").id
        jacobian = np.zeros((3, model.nv))
        mujoco.mj_jacGeom(model, data, jacobian, None, finger)
        return jacobian.T @ (self.spring * (data.geom_xpos[target] - data.geom_xpos[finger])) - self.damping * speeds


def _wrapped(angle: float) -> float:
    """Between -pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
