"""Classic control: linear feedback and energy pumping."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from .base import Reference


class CartPole(Reference):
    """Linear feedback on angle, angular velocity, position and velocity; the signs follow from the linearised dynamics."""

    worlds: tuple[str, ...] = ("CartPoleEnv",)
    gains = np.array([0.05, 0.1, 1.0, 0.3])

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (4,)  # not where a part of the state is hidden

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(observation @ self.gains > 0)


class MountainCar(Reference):
    """Pushes in the direction of motion, which raises the energy at every step (Moore 1990 describes the problem)."""

    worlds: tuple[str, ...] = ("MountainCarEnv", "Continuous_MountainCarEnv")

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        forward = observation[1] >= 0
        if isinstance(env.action_space, gymnasium.spaces.Box):
            return np.array([1.0 if forward else -1.0], np.float32)
        return np.int64(2 if forward else 0)


class Pendulum(Reference):
    """Energy pumping far from the top (Astrom & Furuta 2000), linear feedback near it."""

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

    method = "scripted"
    worlds: tuple[str, ...] = ("LunarLander",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        from gymnasium.envs.box2d.lunar_lander import heuristic

        return np.asarray(heuristic(env, observation), env.action_space.dtype)


class ReachGoal(Reference):
    """Moves a gripper straight to the goal: proportional control of its position."""

    worlds: tuple[str, ...] = ("MujocoFetchReachEnv", "PandaReachEnv")
    gain = 10.0

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.action_space.shape in ((3,), (4,))  # not where joints are moved

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        space: Any = env.action_space
        action = np.zeros(space.shape, space.dtype)
        action[:3] = np.clip(self.gain * (observation["desired_goal"] - observation["achieved_goal"]), -1, 1)
        return action
