"""Dispatching rules for job shops."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference


class MostWorkRemaining(Reference):
    """Job shop: of the jobs that may be started, the one with the most work before it (a dispatching rule, Panwalkar & Iskander 1977)."""

    name = "most_work_remaining"
    worlds = ("JobShopEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        shop: Any = env.unwrapped._shop  # type: ignore[attr-defined]
        left = np.asarray(shop.jobs_length) - np.asarray(shop.total_perform_op_time_jobs)
        legal = np.asarray(shop.legal_actions[:-1], bool)
        return np.int64(np.where(legal, left, -1).argmax() if legal.any() else shop.jobs)  # the last action waits
