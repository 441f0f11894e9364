"""Places beside the object that the gripper visits one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np

from ldm_hf.errors import LDMError
from ldm_hf.references.base import Reference
from ldm_hf.spaces import Action, Info, Observation

GAIN = 10.0  # of the movement towards a place: full speed from a tenth of a metre on
NUMBERS = 6  # of a waypoint
STEPS = (0.03, 0.03, 0.03, 0.7, 0.015, 6.0)
"""Typical changes of the numbers of a waypoint, for a search."""


class MetaWorldWaypoints(Reference):
    """Moves to one place beside the object after the other, faster than the library's scripts, which stop at each.

    The places and their order were found by a search (``benchmarks/waypoints.py``) that began with those that the
    script of the task visits.

    Args:
        env: environment of the task.
        waypoints: six numbers for each place: where it is from the object, in metres (x, y, z); the effort of the
            gripper on the way there; how near, in metres, is near enough; and the number of steps after which the next
            one is begun anyway. The gripper stays at the last one.

    Raises:
        LDMError: if the numbers are not six for each.
    """

    name = "metaworld_waypoints"
    method = "scripted"

    def __init__(self, env: gymnasium.Env, waypoints: Sequence[float]) -> None:
        if not waypoints or len(waypoints) % NUMBERS:
            raise LDMError(
                f"metaworld_waypoints needs {NUMBERS} numbers for each waypoint, got {len(waypoints)} in all"
            )
        self.waypoints = np.asarray(waypoints, np.float64).reshape(-1, NUMBERS)
        self.at = self.steps = 0

    def reset(self, env: gymnasium.Env) -> None:
        self.at = self.steps = 0

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        seen = np.asarray(observation, np.float64)
        while True:
            *beside, effort, near, most = self.waypoints[self.at]
            way = seen[4:7] + beside - seen[:3]
            if self.at == len(self.waypoints) - 1 or (np.abs(way).max() >= near and self.steps <= most):
                break
            self.at, self.steps = self.at + 1, 0
        self.steps += 1
        return np.clip([*(GAIN * way), effort], -1, 1).astype(np.float32)
