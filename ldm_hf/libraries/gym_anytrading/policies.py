"""Trading by the known law of the price."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference


class Trader(Reference):
    """Holds the stock when the next price change is expected to be positive, given the process that the prices follow."""

    name = "trader"
    worlds = ("SimulatedStocksEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        from ldm_hf.libraries.gym_anytrading.environment import MEAN_PRICE

        price, change = observation[-1]
        rising = price < MEAN_PRICE if env.unwrapped.process == "reverting" else change > 0  # type: ignore[attr-defined]
        return np.int64(rising)
