"""Grippers that carry or push one object to a goal, and a ball that rolls through a maze.

The grippers are those of Gymnasium-Robotics (Plappert et al. 2018) and panda-gym (Gallouédec et al. 2021).
"""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded
from ldm_hf.references.search import cell_towards, steps_to
from ldm_hf.spaces import Action, Info, Observation

ABOVE = np.array([0, 0, 0.1])  # metres; from an object to the place from which it is approached


class _Gripper(Reference):
    """A gripper whose observations begin with its place, and whose actions begin with its movement."""

    gain = 10.0

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        space = env.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        places = (observation["observation"][:3], observation["achieved_goal"], observation["desired_goal"])
        aim, fingers = self.move(*(np.asarray(place, float) for place in places))
        action = np.zeros(space.shape, space.dtype)
        action[:3] = np.clip(self.gain * (aim - places[0]), -1, 1)
        action[3:] = fingers  # there is such an entry where the fingers move; 1 opens them
        return action

    def move(self, gripper: np.ndarray, thing: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, float]:
        """The place that the gripper should go to, and what its fingers do: 1 opens, -1 closes.

        Args:
            gripper: ``(3,)``, where it is, in metres.
            thing: ``(3,)``, where the object is.
            goal: ``(3,)``, where the object should be.
        """
        raise NotImplementedError


class PickAndPlace(_Gripper):
    """Opens above the object, goes down, closes, and carries it to the goal."""

    name = "pick_and_place"
    worlds = ("MujocoFetchPickAndPlaceEnv", "PandaPickAndPlaceEnv")

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        # the gripper is moved, not the joints
        return super().fits(env) and env.action_space.shape == (4,)

    def reset(self, env: gymnasium.Env) -> None:
        self.closing = 0  # steps for which the fingers have been closing

    def move(self, gripper: np.ndarray, thing: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, float]:
        away = gripper - thing
        if np.linalg.norm(away) > 0.03:  # not in the hand, or lost
            self.closing = 0
        if np.linalg.norm(away[:2]) > 0.02 and not self.closing:
            return thing + ABOVE, 1.0
        if np.linalg.norm(away) > 0.015 and not self.closing:
            return thing, 1.0
        self.closing += 1
        return (gripper if self.closing < 4 else gripper + goal - thing), -1.0


class Push(_Gripper):
    """Goes behind the object, seen from the goal, and pushes it there."""

    name = "push"
    worlds = ("MujocoFetchPushEnv", "PandaPushEnv")
    behind = 0.07  # metres from the middle of the object to the gripper that begins to push

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.action_space.shape in ((3,), (4,))

    def move(self, gripper: np.ndarray, thing: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, float]:
        way = (goal - thing) * [1, 1, 0]
        distance = np.linalg.norm(way)
        if distance < 0.01:
            return gripper, -1.0
        way /= distance
        away = gripper - thing
        along = away @ way
        aside = away - along * way
        start = thing - self.behind * way
        low = abs(away[2]) < 0.03
        if low and -self.behind - 0.05 < along < 0 and np.linalg.norm(aside[:2]) < 0.02:
            return thing + min(distance, 0.1) * way - 2 * aside * [1, 1, 0] - 0.03 * way, -1.0
        if np.linalg.norm((gripper - start)[:2]) < 0.02:
            return start, -1.0  # down
        return (start if away[2] > 0.05 else gripper) * [1, 1, 0] + (thing + ABOVE) * [0, 0, 1], -1.0


class ReachGoal(Reference):
    """Moves a gripper straight to the goal: proportional control of its position."""

    name = "reach_goal"
    worlds: tuple[str, ...] = ("MujocoFetchReachEnv", "PandaReachEnv")
    gain = 10.0

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        # the gripper is moved, not the joints
        return super().fits(env) and env.action_space.shape in ((3,), (4,))

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        space = env.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        action = np.zeros(space.shape, space.dtype)
        action[:3] = np.clip(self.gain * (observation["desired_goal"] - observation["achieved_goal"]), -1, 1)
        return action


class MazeRunner(Reference):
    """Rolls a ball through a maze (Fu et al. 2020) along the shortest way over cells.

    The force is that of proportional-derivative control to the next cell.

    Args:
        env: a PointMaze.
        gains: gains on the distance to the next cell and on the speed.
    """

    name = "maze_runner"
    method = "planner"
    worlds = ("PointMazeEnv",)

    def __init__(self, env: gymnasium.Env, gains: tuple[float, float] = (10.0, 2.0)) -> None:
        self.gains = gains

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        maze = inside(env).maze
        place, goal, speed = observation["achieved_goal"], observation["desired_goal"], observation["observation"][2:4]
        here, there = ((int(i), int(j)) for i, j in map(maze.cell_xy_to_rowcol, (place, goal)))
        distances = steps_to(maze.maze_map, there)
        target = goal
        if here != there and here in distances:
            target = maze.cell_rowcol_to_xy(np.array(cell_towards(distances, here, there)))
        force = self.gains[0] * (target - place) - self.gains[1] * speed
        return bounded(force, env.action_space)
