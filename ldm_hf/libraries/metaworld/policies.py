"""The scripted policies that Meta-World (Yu et al. 2019) ships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference
from ldm_hf.references.tuning import Number, Tunable
from ldm_hf.spaces import Action, Info, Observation


class MetaWorld(Reference):
    """The scripted policy of the task, adjusted where it stops short of what the reward asks for.

    Some scripts press below a button, or push on when a handle is where it should be. `ldm reference --tune` finds the
    adjustments.

    Args:
        env: environment of the task.
        offset: what is added to the position of the object that the script sees, in metres.
        gain: factor of the movement.
        after: a further factor once the task is done.
        grip: effort of the gripper in [-1, 1]; by default that of the script.
    """

    name = "metaworld"
    method = "scripted"

    def __init__(
        self,
        env: gymnasium.Env,
        offset: Sequence[float] = (0.0, 0.0, 0.0),
        gain: float = 1.0,
        after: float = 1.0,
        grip: float | None = None,
    ) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        assert env.spec is not None
        policy: Any = ENV_POLICY_MAP[env.spec.kwargs["task"]]  # typed as an abstract class
        self.policy = policy()
        self.offset, self.gain, self.after, self.grip = np.asarray(offset, np.float64), gain, after, grip

    @classmethod
    def tunable(cls, env: gymnasium.Env) -> Tunable:
        return {
            "grip": (None, -1.0, 1.0),
            "gain": Number(1.0, 0.5, 0.1, 10, factor=True),
            "after": Number(1.0, 0.5, 0.0, 1.0),
            "offset": Number((0.0, 0.0, 0.0), 0.05, -0.2, 0.2),
        }

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        seen = np.array(observation, np.float64)
        seen[4:7] += self.offset
        action = np.array(self.policy.get_action(seen), np.float64)
        action[:3] *= self.gain * (self.after if info.get("success") else 1.0)
        if self.grip is not None:
            action[3] = self.grip
        return np.clip(action, -1, 1).astype(np.float32)
