"""Rules for the cars of highway-env (Leurent 2018), on what a car observes."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference
from ldm_hf.spaces import Action, Info, Observation

LEFT, IDLE, RIGHT, FASTER, SLOWER = range(5)
# metres; the library's kinematic observation is scaled by these
X_RANGE, Y_RANGE, LANE = 200.0, 12.0, 4.0


class LaneChanger(Reference):
    """Drives fast if nothing is ahead; else overtakes on a free lane, or slows down.

    The gap that a lane needs to be free grows with the closing speed.

    Args:
        env: an environment with kinematic observations and discrete meta-actions.
        gap: smallest gap to the vehicle ahead, in metres.
        lanes: number of lanes of the road.
    """

    name = "lane_changer"

    def __init__(self, env: gymnasium.Env, gap: float = 25.0, lanes: int = 3) -> None:
        self.gap, self.lanes = gap, lanes

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        ego, others = observation[0], observation[1:]
        others = others[others[:, 0] > 0.5]
        lane = round(float(ego[2]) * Y_RANGE / LANE)
        ahead, beside = others[:, 1] * X_RANGE, others[:, 2] * Y_RANGE / LANE
        closing = -others[:, 3] * 2 * 40.0  # metres per second; the speeds are scaled by twice 40

        def free(shift: int) -> bool:
            if not 0 <= lane + shift < self.lanes:
                return False
            there = np.abs(beside - shift) < 0.6
            needed = self.gap + np.maximum(closing, 0) * 1.5
            blocked = there & (ahead > (-12.0 if shift else 0.0)) & (ahead < needed)
            return not blocked.any()

        if free(0):
            return np.int64(FASTER)
        for shift, action in ((1, RIGHT), (-1, LEFT)):
            if free(shift):
                return np.int64(action)
        return np.int64(SLOWER)


class LaneKeeper(Reference):
    """Linear state feedback on the deviation from the centre of the lane.

    Args:
        env: lane-keeping-v0.
        gains: gains on lateral deviation, heading, lateral speed and yaw rate.
    """

    name = "lane_keeper"

    def __init__(self, env: gymnasium.Env, gains: tuple[float, ...] = (0.1, 1.0, 0.05, 0.2)) -> None:
        self.gains = np.asarray(gains)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        deviation = (observation["state"] - observation["reference_state"]).reshape(-1)
        return np.clip(np.array([-self.gains @ deviation], np.float32), -1, 1)
