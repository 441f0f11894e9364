"""gym-anytrading's stock environment on simulated prices.

The library ships one fixed series of historical prices: a policy could only memorise it, and nothing would say how well one can trade on it. Here
every seeded reset draws a new series of a process whose structure is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from gym_anytrading.envs import StocksEnv

MEAN_PRICE = 100.0


def simulate(rng: np.random.Generator, steps: int, process: str) -> np.ndarray:
    """Prices ``(steps,)``.

    Args:
        rng: generator.
        steps: length.
        process: ``"reverting"``, an Ornstein-Uhlenbeck process around 100, or ``"trending"``, whose returns are autocorrelated.
    """
    noise = rng.normal(size=steps)
    if process == "reverting":
        prices, value = np.empty(steps), 4.0 * rng.normal()
        for step in range(steps):
            value += -0.15 * value + 2.0 * noise[step]
            prices[step] = MEAN_PRICE + value
        return np.maximum(prices, 1.0)
    changes, change = np.empty(steps), 0.0
    for step in range(steps):
        change = 0.8 * change + 0.5 * noise[step]
        changes[step] = change
    return np.maximum(MEAN_PRICE + changes.cumsum(), 1.0)


class SimulatedStocksEnv(StocksEnv):
    """Hold a stock or stay out; a sale earns the price difference since the purchase.

    Args:
        process: of the prices, see `simulate`.
        steps: of one episode.
        window_size: prices seen at once.
    """

    prices: np.ndarray  # of StocksEnv, which is untyped

    def __init__(
        self, process: str = "reverting", steps: int = 100, window_size: int = 4, render_mode: str | None = None
    ) -> None:
        self.process, self.steps = process, steps
        prices = simulate(np.random.default_rng(0), steps + window_size + 1, process)
        super().__init__(pd.DataFrame({"Close": prices}), window_size, (window_size, len(prices)), render_mode)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed if seed is None else seed % 2**31)  # seeds np_random
        self.df = pd.DataFrame({"Close": simulate(self.np_random, len(self.prices), self.process)})
        self.prices, self.signal_features = self._process_data()
        return self._get_observation().copy(), {}  # else a view of the array of all prices

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, _ = super().step(int(action))
        return observation.copy(), float(reward), terminated, truncated, {}
