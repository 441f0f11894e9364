"""Policies for Gymnasium's own environments: linear feedback, energy pumping, a Jacobian, a table for Blackjack."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded, regulator
from ldm_hf.spaces import Action, Info, Observation


class CartPole(Reference):
    """Linear feedback on position, velocity, angle and angular velocity; signs follow from the linearised dynamics."""

    name = "cartpole"
    worlds: tuple[str, ...] = ("CartPoleEnv",)
    gains = np.array([0.05, 0.1, 1.0, 0.3])

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (4,)  # the whole state is seen

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(observation @ self.gains > 0)


class MountainCar(Reference):
    """Pushes in the direction of motion, which raises the energy at every step (problem: Moore 1990)."""

    name = "mountain_car"
    worlds: tuple[str, ...] = ("MountainCarEnv", "Continuous_MountainCarEnv")

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        forward = observation[1] >= 0
        if isinstance(env.action_space, gymnasium.spaces.Box):
            return np.array([1.0 if forward else -1.0], np.float32)
        return np.int64(2 if forward else 0)


class Acrobot(Reference):
    """Turns the elbow the way it is turning, which raises the energy at every step (swing-up: Spong 1995)."""

    name = "acrobot"
    worlds: tuple[str, ...] = ("AcrobotEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(2 if inside(env).state[3] > 0 else 0)


class Pendulum(Reference):
    """Energy pumping far from the top (Astrom & Furuta 2000), linear feedback near it."""

    name = "pendulum"
    worlds: tuple[str, ...] = ("PendulumEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (3,)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        cosine, sine, speed = (float(value) for value in observation)
        angle = np.arctan2(sine, cosine)
        if cosine > 0.85:
            torque = -(12.0 * angle + 3.0 * speed)
        else:
            # m = l = 1, g = 10, inertia 1/3; 0 at rest at the top
            energy = speed**2 / 6 + 5.0 * (cosine - 1)
            torque = -3.0 * energy * (np.sign(speed) or 1.0)
        return np.clip(np.array([torque], np.float32), -2, 2)


class LunarLander(Reference):
    """The controller that Gymnasium ships with the environment."""

    name = "lunar_lander"
    method = "scripted"
    worlds: tuple[str, ...] = ("LunarLander",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        from gymnasium.envs.box2d.lunar_lander import heuristic

        return np.asarray(heuristic(env, observation), env.action_space.dtype)


class LinearRegulator(Reference):
    """Balances MuJoCo's upright pendulums.

    It is the linear-quadratic regulator (Kalman 1960) of the simulator's own equations near the top.
    """

    name = "linear_regulator"
    method = "planner"
    worlds: tuple[str, ...] = ("InvertedPendulumEnv", "InvertedDoublePendulumEnv")

    def __init__(self, env: gymnasium.Env) -> None:
        world = inside(env)
        self.gains = regulator(world.model, world.frame_skip)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        data = inside(env).data
        return bounded(-self.gains @ np.concatenate([data.qpos, data.qvel]), env.action_space)


class Reacher(Reference):
    """Pulls the tip of MuJoCo's arm to its target by a damped spring.

    The transposed Jacobian turns the force of the spring into torques of the joints (Hogan 1985).

    Args:
        env: not used.
        spring: torque per metre from tip to target and metre of lever.
        damping: torque per radian a second.
    """

    name = "reacher"
    worlds: tuple[str, ...] = ("ReacherEnv",)

    def __init__(self, env: gymnasium.Env, spring: float = 10.0, damping: float = 0.05) -> None:
        self.spring, self.damping = spring, damping

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{"spring": spring, "damping": damping} for spring in (4.0, 10.0) for damping in (0.02, 0.05)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        import mujoco

        world = inside(env)
        jacobian = np.zeros((3, world.model.nv))
        mujoco.mj_jacBody(world.model, world.data, jacobian, None, world.model.body("fingertip").id)
        pull = self.spring * (world.get_body_com("target") - world.get_body_com("fingertip"))
        return bounded((jacobian.T @ pull - self.damping * world.data.qvel)[:2], env.action_space)


class Blackjack(Reference):
    """Basic strategy for an infinite deck without splitting or doubling.

    It is that of Thorp 1962 as Sutton & Barto 2018 (figure 5.2) give it.
    """

    name = "blackjack"
    method = "tabular"
    worlds = ("BlackjackEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        total, dealer, usable_ace = (int(value) for value in observation)
        if usable_ace:
            return np.int64(total < 18 or (total == 18 and dealer in (1, 9, 10)))
        if total >= 17 or (13 <= total <= 16 and 2 <= dealer <= 6) or (total == 12 and 4 <= dealer <= 6):
            return np.int64(0)
        return np.int64(1)
