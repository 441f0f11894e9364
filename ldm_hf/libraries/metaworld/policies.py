"""The scripted policies that Meta-World (Yu et al. 2019) ships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference
from ldm_hf.references.scripts import numbers_of, with_numbers
from ldm_hf.references.tuning import Number, Tunable
from ldm_hf.spaces import Action, Info, Observation


class MetaWorld(Reference):
    """The scripted policy of the task, adjusted where it stops short of what the reward asks for, or is slow.

    Some scripts press below a button, or push on when a handle is where it should be; many wait until they are within a
    centimetre. `ldm reference --tune` finds the adjustments, by returns in which the first hundred steps, which is what
    published scores count, weigh twice.

    Args:
        env: environment of the task.
        offset: what is added to the position of the object that the script sees, in metres.
        gain: factor of the movement.
        after: a further factor once the task is done; a negative one goes back, which stops what goes on by itself.
        grip: effort of the gripper in [-1, 1]; by default that of the script.
        numbers: the numbers in the text of the script, in their order; by default as it has them.
    """

    name = "metaworld"
    method = "scripted"
    searches, twice = 300, 100

    def __init__(
        self,
        env: gymnasium.Env,
        offset: Sequence[float] = (0.0, 0.0, 0.0),
        gain: float = 1.0,
        after: float = 1.0,
        grip: float | None = None,
        numbers: Sequence[float] | None = None,
    ) -> None:
        policy: Any = self.script(env)  # typed as an abstract class
        self.policy = policy() if numbers is None else with_numbers(policy, numbers)()
        self.offset, self.gain, self.after, self.grip = np.asarray(offset, np.float64), gain, after, grip

    @classmethod
    def tunable(cls, env: gymnasium.Env) -> Tunable:
        return {
            "grip": (None, -1.0, 1.0),
            "after": Number(1.0, 0.5, -1.0, 1.0),
            "numbers": numbers_of(cls.script(env)),
        }

    @staticmethod
    def script(env: gymnasium.Env) -> type:
        """The class of the script that the library ships for the task of an environment."""
        from metaworld.policies import ENV_POLICY_MAP

        assert env.spec is not None
        policy: type = ENV_POLICY_MAP[env.spec.kwargs["task"]]
        return policy

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        seen = np.array(observation, np.float64)
        seen[4:7] += self.offset
        action = np.array(self.policy.get_action(seen), np.float64)
        action[:3] *= self.gain * (self.after if info.get("success") else 1.0)
        if self.grip is not None:
            action[3] = self.grip
        return np.clip(action, -1, 1).astype(np.float32)
