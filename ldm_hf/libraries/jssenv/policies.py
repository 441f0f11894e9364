"""A dispatching rule for the job shops of JSSEnv (Tassel et al. 2021)."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation


class MostWorkRemaining(Reference):
    """Starts the job with the most work left: a dispatching rule (Panwalkar & Iskander 1977)."""

    name = "most_work_remaining"
    worlds = ("JobShopEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        shop = inside(env)._shop
        left = np.asarray(shop.jobs_length) - np.asarray(shop.total_perform_op_time_jobs)
        legal = np.asarray(shop.legal_actions[:-1], bool)
        # the last action waits
        return np.int64(np.where(legal, left, -1).argmax() if legal.any() else shop.jobs)
