"""gym-anytrading's stock environment on simulated prices.

The library ships one fixed series of historical prices: a policy could only memorise it, and nothing would say how
well one can trade on it. Here every reset draws a new series of a process whose structure is known.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from gym_anytrading.envs import StocksEnv

from ldm_hf.spaces import Action, Info

MEAN_PRICE = 100.0


def simulate(
    rng: np.random.Generator, steps: int, process: str, strength: float | None = None, volatility: float = 1.0
) -> np.ndarray:
    """Draws a series of prices, ``(steps,)``.

    Args:
        rng: generator of the noise.
        steps: length of the series.
        process: ``"reverting"``, an Ornstein-Uhlenbeck process around 100, or ``"trending"``, whose changes are
            autocorrelated.
        strength: pull back to the mean per step (default 0.15), or autocorrelation (default 0.8).
        volatility: factor on the noise.
    """
    noise = volatility * rng.normal(size=steps)
    if process == "reverting":
        pull = 0.15 if strength is None else strength
        prices, value = np.empty(steps), 4.0 * volatility * rng.normal()
        for step in range(steps):
            value += -pull * value + 2.0 * noise[step]
            prices[step] = MEAN_PRICE + value
        return np.maximum(prices, 1.0)
    memory = 0.8 if strength is None else strength
    changes, change = np.empty(steps), 0.0
    for step in range(steps):
        change = memory * change + 0.5 * noise[step]
        changes[step] = change
    return np.maximum(MEAN_PRICE + changes.cumsum(), 1.0)


class SimulatedStocksEnv(StocksEnv):  # type: ignore[misc]  # the library is untyped
    """Hold a stock or stay out; a sale earns the price difference since the purchase.

    Args:
        process: process of the prices, see `simulate`.
        steps: length of an episode.
        window_size: prices seen at once.
        strength: strength of the process, see `simulate`.
        volatility: factor on the noise.
        cost: cost of each purchase and each sale, in units of the price.
        render_mode: Gymnasium's.
    """

    prices: np.ndarray  # set by StocksEnv

    def __init__(
        self,
        process: str = "reverting",
        steps: int = 100,
        window_size: int = 4,
        strength: float | None = None,
        volatility: float = 1.0,
        cost: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        self.process, self.strength, self.volatility = process, strength, volatility
        self.steps, self.cost = steps, cost
        prices = self._simulate(np.random.default_rng(0), steps + window_size + 1)
        super().__init__(pd.DataFrame({"Close": prices}), window_size, (window_size, len(prices)), render_mode)

    def _simulate(self, rng: np.random.Generator, steps: int) -> np.ndarray:
        return simulate(rng, steps, self.process, self.strength, self.volatility)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        super().reset(seed=seed if seed is None else seed % 2**31)  # seeds np_random
        self.df = pd.DataFrame({"Close": self._simulate(self.np_random, len(self.prices))})
        self.prices, self.signal_features = self._process_data()
        return self._get_observation().copy(), {}  # a copy: it is a view of the array of all prices

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        before = self._position
        observation, reward, terminated, truncated, _ = super().step(int(action))
        paid = self.cost if self._position != before else 0.0
        return observation.copy(), float(reward) - paid, terminated, truncated, {}
