"""Classic control: feedback, linear or through a Jacobian, and energy pumping."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference
from ldm_hf.references.control import bounded, regulator


class CartPole(Reference):
    """Linear feedback on angle, angular velocity, position and velocity; the signs follow from the linearised dynamics."""

    name = "cartpole"
    worlds: tuple[str, ...] = ("CartPoleEnv",)
    gains = np.array([0.05, 0.1, 1.0, 0.3])

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (4,)  # not where a part of the state is hidden

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(observation @ self.gains > 0)


class MountainCar(Reference):
    """Pushes in the direction of motion, which raises the energy at every step (Moore 1990 describes the problem)."""

    name = "mountain_car"
    worlds: tuple[str, ...] = ("MountainCarEnv", "Continuous_MountainCarEnv")

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        forward = observation[1] >= 0
        if isinstance(env.action_space, gymnasium.spaces.Box):
            return np.array([1.0 if forward else -1.0], np.float32)
        return np.int64(2 if forward else 0)


class Acrobot(Reference):
    """Turns the elbow the way it is turning, which raises the energy at every step (Spong 1995 describes the swing-up)."""

    name = "acrobot"
    worlds: tuple[str, ...] = ("AcrobotEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(2 if env.unwrapped.state[3] > 0 else 0)  # type: ignore[attr-defined]


class Pendulum(Reference):
    """Energy pumping far from the top (Astrom & Furuta 2000), linear feedback near it."""

    name = "pendulum"
    worlds: tuple[str, ...] = ("PendulumEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (3,)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        cosine, sine, speed = (float(value) for value in observation)
        angle = np.arctan2(sine, cosine)
        if cosine > 0.85:
            torque = -(12.0 * angle + 3.0 * speed)
        else:
            energy = speed**2 / 6 + 5.0 * (
                cosine - 1
            )  # m = l = 1, g = 10: inertia 1/3, nought when resting at the top
            torque = -3.0 * energy * (np.sign(speed) or 1.0)
        return np.clip(np.array([torque], np.float32), -2, 2)


class LunarLander(Reference):
    """The controller that Gymnasium ships with the environment."""

    name = "lunar_lander"
    method = "scripted"
    worlds: tuple[str, ...] = ("LunarLander",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        from gymnasium.envs.box2d.lunar_lander import heuristic

        return np.asarray(heuristic(env, observation), env.action_space.dtype)


class LinearRegulator(Reference):
    """Balances MuJoCo's upright pendulums: the linear-quadratic regulator (Kalman 1960) of the simulator's own equations near the top."""

    name = "linear_regulator"
    method = "planner"
    worlds: tuple[str, ...] = ("InvertedPendulumEnv", "InvertedDoublePendulumEnv")

    def __init__(self, env: gymnasium.Env) -> None:
        world: Any = env.unwrapped
        self.gains = regulator(world.model, world.frame_skip)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        data: Any = env.unwrapped.data  # type: ignore[attr-defined]
        return bounded(-self.gains @ np.concatenate([data.qpos, data.qvel]), env.action_space)


class Reacher(Reference):
    """Pulls the tip of MuJoCo's arm to its target: the force of a damped spring, as torques of the joints by the transposed Jacobian (Hogan 1985).

    Args:
        env: not used.
        spring: torque for each metre that the tip is away, and metre of lever.
        damping: torque for each radian a second.
    """

    name = "reacher"
    worlds: tuple[str, ...] = ("ReacherEnv",)

    def __init__(self, env: gymnasium.Env, spring: float = 10.0, damping: float = 0.05) -> None:
        self.spring, self.damping = spring, damping

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        return [{"spring": spring, "damping": damping} for spring in (4.0, 10.0) for damping in (0.02, 0.05)]

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        import mujoco

        world: Any = env.unwrapped
        jacobian = np.zeros((3, world.model.nv))
        mujoco.mj_jacBody(world.model, world.data, jacobian, None, world.model.body("fingertip").id)
        pull = self.spring * (world.get_body_com("target") - world.get_body_com("fingertip"))
        return bounded((jacobian.T @ pull - self.damping * world.data.qvel)[:2], env.action_space)


class Blackjack(Reference):
    """Basic strategy for an infinite deck without splitting or doubling (Thorp 1962), as Sutton & Barto 2018 (figure 5.2) give it."""

    name = "blackjack"
    method = "tabular"
    worlds = ("BlackjackEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        total, dealer, usable_ace = (int(value) for value in observation)
        if usable_ace:
            return np.int64(total < 18 or (total == 18 and dealer in (1, 9, 10)))
        if total >= 17 or (13 <= total <= 16 and 2 <= dealer <= 6) or (total == 12 and 4 <= dealer <= 6):
            return np.int64(0)
        return np.int64(1)
