"""The scripted policies that Meta-World (Yu et al. 2019) ships."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference
from ldm_hf.spaces import Action, Info, Observation


class MetaWorld(Reference):
    """The scripted policy of the task."""

    name = "metaworld"
    method = "scripted"

    def __init__(self, env: gymnasium.Env) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        assert env.spec is not None
        policy: Any = ENV_POLICY_MAP[env.spec.kwargs["task"]]  # typed as an abstract class
        self.policy = policy()

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        action = self.policy.get_action(np.asarray(observation, np.float64))
        return np.clip(action, -1, 1).astype(np.float32)
