"""Meta-World's own scripted policies."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference


class MetaWorld(Reference):
    """The scripted policies that Meta-World ships (Yu et al. 2019)."""

    name = "metaworld"
    method = "scripted"

    def __init__(self, env: gymnasium.Env) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        spec: Any = env.spec
        policy: Any = ENV_POLICY_MAP[spec.kwargs["task"]]
        self.policy = policy()

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        action = self.policy.get_action(np.asarray(observation, np.float64))
        return np.clip(action, -1, 1).astype(np.float32)
