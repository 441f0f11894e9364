"""A planner for gym-pusht (Chi et al. 2023), whose disk pushes a T into place."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

TRIED = 96  # pushes
STROKE = 5  # steps to a point, after which the disk is there


class PushPlanner(Reference):
    """Tries random pushes in a copy of the world, and does the one after which the corners are nearest to their places.

    Args:
        env: the world to copy.
        tried: pushes, each of which goes to a point beside the T, and from there to a point in it or behind it.
    """

    name = "push_planner"
    method = "planner"
    worlds = ("PushTEnv",)

    def __init__(self, env: gymnasium.Env, tried: int = TRIED) -> None:
        self.copy: Any = type(inside(env))()
        self.copy.reset(seed=0)
        goal = self.copy.get_goal_pose_body(self.copy.goal_pose)
        self.goals = self._corners(goal)
        self.tried = tried

    def reset(self, env: gymnasium.Env) -> None:
        self.random = np.random.default_rng(0)
        self.plan: deque[np.ndarray] = deque()

    def executed(self, action: Action) -> None:
        self.plan.clear()

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        if not self.plan:
            world = inside(env)
            pushes = [self._push(np.array(world.block.position)) for _ in range(self.tried)]
            best = min(pushes, key=lambda push: self._distance(world, push))
            self.plan.extend(np.repeat(best, STROKE, 0))
        return self.plan.popleft().astype(np.float32)

    def _push(self, middle: np.ndarray) -> np.ndarray:
        """Two random points ``(2, 2)`` in pixels: beside the T and beyond it."""
        angle = self.random.uniform(0, 2 * np.pi)
        outwards = np.array([np.cos(angle), np.sin(angle)])
        start = middle + self.random.uniform(60, 140) * outwards + self.random.normal(0, 40, 2)
        end = start - self.random.uniform(20, 160) * outwards + self.random.normal(0, 20, 2)
        points: np.ndarray = np.clip([start, end], 20, 490)
        return points

    def _distance(self, world: Any, push: np.ndarray) -> float:
        """Mean distance of the corners from their places in pixels after a push."""
        copy = self.copy
        for mine, real in ((copy.agent, world.agent), (copy.block, world.block)):
            mine.angle, mine.position, mine.velocity = real.angle, real.position, real.velocity
            mine.angular_velocity = real.angular_velocity
        copy.space.reindex_shapes_for_body(copy.block)
        copy.space.reindex_shapes_for_body(copy.agent)
        for point in push:
            for _ in range(round(STROKE / copy.dt / copy.control_hz)):
                pull = copy.k_p * (point - copy.agent.position) - copy.k_v * np.array(copy.agent.velocity)
                copy.agent.velocity += tuple(pull * copy.dt)
                copy.space.step(copy.dt)
        return float(np.linalg.norm(self._corners(copy.block) - self.goals, axis=1).mean())

    def _corners(self, body: Any) -> np.ndarray:
        return np.array(
            [body.local_to_world(corner) for shape in self.copy.block.shapes for corner in shape.get_vertices()]
        )
