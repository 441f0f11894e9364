"""Trading by the known law of the simulated price of a stock."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation


class Trader(Reference):
    """Holds the stock if the next change of the price is expected to be positive, given the process of the prices."""

    name = "trader"
    worlds = ("SimulatedStocksEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        from ldm_hf.libraries.gym_anytrading.environment import MEAN_PRICE

        price, change = observation[-1]
        rising = price < MEAN_PRICE if inside(env).process == "reverting" else change > 0
        return np.int64(rising)
