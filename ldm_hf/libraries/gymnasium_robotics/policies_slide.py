"""A gripper that hits a puck so that it slides to a goal out of reach."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.libraries.gymnasium_robotics.policies import FLAT, Push


class Slide(Push):
    """Goes behind the puck, strikes towards the goal as fast as the distance asks, and stops.

    Args:
        env: not used.
        power: speed of the gripper, as a share of the fastest, for a goal that is a metre away; it grows with the root
            of the distance, as it does for what friction stops.
        through: metres for which the gripper goes on after it has met the puck.
    """

    name = "slide"
    worlds = ("MujocoFetchSlideEnv", "PandaSlideEnv")
    behind = 0.1

    def __init__(self, env: gymnasium.Env, power: float = 1.1, through: float = 0.02) -> None:
        self.power, self.through = power, through

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{"power": power} for power in (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)]

    def reset(self, env: gymnasium.Env) -> None:
        self.stroke: np.ndarray | None = None
        self.first = np.zeros(3)  # where the puck lay when it was struck

    def move(self, gripper: np.ndarray, thing: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, float]:
        if self.stroke is not None:
            over = (gripper - self.first) @ self.stroke > (self.through - 0.05) * np.linalg.norm(self.stroke)
            return (gripper if over else gripper + self.stroke / self.gain), -1.0
        way = (goal - thing) * FLAT
        distance = float(np.linalg.norm(way))
        away = (gripper - thing) * FLAT
        along = away @ way / distance
        aside = np.linalg.norm(away - along * way / distance)
        if aside < 0.01 and -self.behind - 0.03 < along < -self.behind + 0.03 and abs(gripper[2] - thing[2]) < 0.03:
            self.first, self.stroke = thing, self.power * np.sqrt(distance) * way / distance
            return self.move(gripper, thing, goal)
        if along < 0 and aside < 0.03 and along > -self.behind:  # it may not push before it is behind
            return thing - self.behind * way / distance, -1.0
        return super().move(gripper, thing, goal)
