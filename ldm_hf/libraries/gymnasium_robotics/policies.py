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

FLAT = np.array([1, 1, 0])
UP = np.array([0, 0, 1])


class _Gripper(Reference):
    """A gripper whose observations begin with its place, and whose actions begin with its movement."""

    gain = 20.0

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        space = env.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        places = (observation["observation"][:3], observation["achieved_goal"], observation["desired_goal"])
        aim, fingers = self.move(*(np.asarray(place, float) for place in places))
        movement = self.gain * (aim - places[0])
        action = np.zeros(space.shape, space.dtype)
        action[:3] = movement / max(1, np.abs(movement).max())  # in a straight line, also at full speed
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
    """Opens on a slope down to the object, closes, and carries it to the goal.

    Args:
        env: not used.
        wait: steps for which the fingers close before the gripper moves off.
    """

    name = "pick_and_place"
    worlds = ("MujocoFetchPickAndPlaceEnv", "PandaPickAndPlaceEnv")

    def __init__(self, env: gymnasium.Env, wait: int = 3) -> None:
        self.wait = wait

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        # the gripper is moved, not the joints
        return super().fits(env) and env.action_space.shape == (4,)

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, object]]:
        return [{"wait": wait} for wait in (2, 3)]

    def reset(self, env: gymnasium.Env) -> None:
        self.closing = 0  # steps for which the fingers have been closing

    def move(self, gripper: np.ndarray, thing: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, float]:
        away = gripper - thing
        if np.linalg.norm(away) > 0.04:  # lost
            self.closing = 0
        if np.linalg.norm(away) > 0.02 and not self.closing:
            aside = float(np.linalg.norm(away[:2]))
            return thing + np.clip(1.5 * (aside - 0.03), 0, 0.1) * UP, 1.0
        self.closing += 1
        return (gripper if self.closing < self.wait else gripper + goal - thing), -1.0


class Push(_Gripper):
    """Goes around the object to the side that is away from the goal, and pushes it there."""

    name = "push"
    worlds = ("MujocoFetchPushEnv", "PandaPushEnv")
    behind = 0.08  # metres from the middle of the object to the gripper that begins to push
    near = 0.045  # metres from the goal, where the object slides on by itself

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.action_space.shape in ((3,), (4,))

    def move(self, gripper: np.ndarray, thing: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, float]:
        way = (goal - thing) * FLAT
        distance = float(np.linalg.norm(way))
        if distance < self.near:
            return gripper, -1.0
        way /= distance
        away = gripper - thing
        along = away @ way
        aside = (away - along * way) * FLAT
        if abs(away[2]) < 0.03 and -self.behind - 0.05 < along < 0 and np.linalg.norm(aside) < 0.025:
            return thing + (min(distance, 0.1) / 2 - 0.03) * way - aside / 2, -1.0
        start = thing - self.behind * way
        leg = (start - gripper) * FLAT
        nearest = away * FLAT + np.clip(-(away @ leg) / max(leg @ leg, 1e-6), 0, 1) * leg
        if np.linalg.norm(nearest) > 0.06:  # the straight line does not touch the object
            return start, -1.0
        if away[2] > 0.06:
            return start * FLAT + (thing + 0.08) * UP, -1.0
        return start + 0.1 * aside / max(float(np.linalg.norm(aside)), 1e-6), -1.0


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
