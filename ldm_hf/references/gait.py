"""Walking and swimming without looking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from ..libraries.gymnasium.policies import bounded
from .base import Reference

POPULATION, GENERATIONS = 20, 30
STIFFNESS, DAMPING = 2.0, 0.05  # of each joint, as shares of the strongest action for each radian and radian a second


class Gait(Reference):
    """Open-loop oscillators (Raffin et al. 2023): every joint follows a sine of its own, all of one frequency.

    Which sines is found by differential evolution (Storn & Price 1997), each candidate in one episode. What comes of it is far from the best way to
    move, but takes a minute and no learning.

    Args:
        env: a robot of Gymnasium whose actions are torques of joints.
        gait: frequency in hertz, then the amplitudes (radians), phases (turns) and offsets (radians) of the joints.
    """

    worlds = ("HalfCheetahEnv", "HopperEnv", "SwimmerEnv", "Walker2dEnv")

    def __init__(self, env: gymnasium.Env, gait: Sequence[float]) -> None:
        model: Any = env.unwrapped.model  # type: ignore[attr-defined]
        joints = model.actuator_trnid[:, 0]
        self.places, self.speeds = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        self.frequency = gait[0]
        self.amplitudes, self.phases, self.offsets = np.reshape(gait[1:], (3, len(joints)))

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        from scipy.optimize import differential_evolution

        joints = env.unwrapped.model.nu  # type: ignore[attr-defined]
        bounds = np.array([(0.5, 3.0)] + 2 * joints * [(0.0, 1.0)] + joints * [(-0.5, 0.5)])
        first = np.random.default_rng(0).uniform(bounds[:, 0], bounds[:, 1], (POPULATION, len(bounds)))
        found = differential_evolution(
            lambda gait: -cls(env, gait).play(env),
            bounds,
            init=first,
            maxiter=GENERATIONS - 1,
            tol=0,
            polish=False,
            rng=0,
        )
        return [{"gait": found.x.round(3).tolist()}]

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        data: Any = env.unwrapped.data  # type: ignore[attr-defined]
        wanted = self.offsets + self.amplitudes * np.sin(2 * np.pi * (self.frequency * data.time + self.phases))
        torques = STIFFNESS * (wanted - data.qpos[self.places]) - DAMPING * data.qvel[self.speeds]
        return bounded(torques, env.action_space)

    def play(self, env: gymnasium.Env) -> float:
        """The return of an episode, always of the same seed."""
        observation, info = env.reset(seed=0)
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(self.act(env, observation, info))
            total, ended = total + float(reward), terminated or truncated
        return total
