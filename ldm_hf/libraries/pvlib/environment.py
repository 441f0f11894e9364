"""A home with solar panels, whose output on a clear day pvlib computes, and a battery, under a tariff by the hour."""

from __future__ import annotations

from functools import cache

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.spaces import Info, Observation

Numbers = float | np.ndarray

HOURS = 24
# load in kW by hour of the day
LOAD = np.array([
    0.3, 0.25, 0.25, 0.25, 0.3, 0.4, 0.8, 1.0, 0.8, 0.6, 0.5, 0.5,
    0.6, 0.6, 0.5, 0.6, 0.8, 1.2, 1.6, 1.7, 1.5, 1.2, 0.8, 0.5,
])  # fmt: skip
# per kWh bought, by hour of the day: night, day, evening peak
PRICE = np.array([0.12] * 7 + [0.25] * 10 + [0.45] * 4 + [0.25] * 2 + [0.12])
FEED_IN = 0.06  # per kWh sold
TARIFFS = {
    "time-of-use": PRICE,
    "night": np.array([0.1] * 6 + [0.3] * 16 + [0.1] * 2),  # two prices
    # cheap while the sun shines
    "midday": np.array([0.22] * 10 + [0.08] * 6 + [0.22] * 1 + [0.5] * 4 + [0.22] * 3),
    "flat": np.full(HOURS, 0.25),
}
CLOUD_MEMORY = 0.8  # correlation of the sky's clearness from hour to hour


@cache
def clear_sky(latitude: float, longitude: float, peak_kw: float) -> np.ndarray:
    """Output of horizontal panels on a clear 21 June by pvlib's Ineichen model, in kW by hour of the day, ``(24,)``."""
    import pandas as pd
    from pvlib.location import Location

    times = pd.date_range("2024-06-21", periods=HOURS, freq="h", tz="UTC")
    sky = Location(latitude, longitude).get_clearsky(times, model="ineichen", linke_turbidity=3.0)
    output: np.ndarray = peak_kw * sky["ghi"].to_numpy() / 1000.0
    return output


class HomeBatteryEnv(gymnasium.Env):
    """Charge or discharge a battery each hour so that the bill over three days is small.

    Args:
        capacity: capacity of the battery in kWh.
        power: largest charge and discharge in kW.
        efficiency: share of the charging power that reaches the battery.
        peak_kw: peak power of the panels in kW.
        latitude: latitude of the home in degrees.
        longitude: longitude of the home in degrees.
        tariff: a key of `TARIFFS`.
        feed_in: price per kWh sold.
        render_mode: not used.
    """

    def __init__(
        self,
        capacity: float = 8.0,
        power: float = 3.0,
        efficiency: float = 0.92,
        peak_kw: float = 4.0,
        latitude: float = 47.0,
        longitude: float = 7.0,
        tariff: str = "time-of-use",
        feed_in: float = FEED_IN,
        render_mode: str | None = None,
    ) -> None:
        self.capacity, self.power, self.efficiency, self.render_mode = capacity, power, efficiency, render_mode
        self.price, self.feed_in = TARIFFS[tariff], feed_in
        self.solar = clear_sky(latitude, longitude, peak_kw)
        # share of `power`; positive charges
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = spaces.Dict(
            {
                "hour": spaces.Discrete(HOURS),
                # charge kWh, load kW, solar kW, price
                "state": spaces.Box(-np.inf, np.inf, (4,), np.float32),
            }
        )

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Observation, Info]:
        super().reset(seed=seed)
        self.hour = int(self.np_random.integers(HOURS))
        self.charge = float(self.np_random.uniform(0, self.capacity))
        self._sky = float(self.np_random.normal())
        self._draw()
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, Info]:
        power = float(np.clip(action[0], -1, 1)) * self.power
        bought, charge = self.transition(self.charge, power, self.load - self.panels)
        self.charge = float(charge)
        cost = self.cost(bought, self.hour)
        self.hour = (self.hour + 1) % HOURS
        self._draw()
        return self._observe(), -float(cost), False, False, {}

    def transition(self, charge: Numbers, power: Numbers, net_load: Numbers) -> tuple[Numbers, Numbers]:
        """An hour at constant power.

        Args:
            charge: energy in the battery in kWh.
            power: power into the battery in kW.
            net_load: load of the home less the output of the panels, in kW.

        Returns:
            kWh bought (negative if sold) and the new charge, as arrays if the arguments are.
        """
        into = np.clip(power, -charge, (self.capacity - charge) / self.efficiency)
        return net_load + into, charge + np.where(into > 0, self.efficiency * into, into)

    def cost(self, bought: Numbers, hour: int) -> np.ndarray:
        """The price of ``bought`` kWh in an hour of the day; selling (negative) earns the feed-in tariff."""
        return np.where(bought > 0, bought * self.price[hour], bought * self.feed_in)

    def _draw(self) -> None:
        self._sky = CLOUD_MEMORY * self._sky + np.sqrt(1 - CLOUD_MEMORY**2) * self.np_random.normal()
        self.panels = float(self.solar[self.hour] / (1 + np.exp(-1.5 * self._sky - 0.5)))
        self.load = float(LOAD[self.hour] * self.np_random.lognormal(0, 0.2))

    def _observe(self) -> Observation:
        state = np.array([self.charge, self.load, self.panels, self.price[self.hour]], np.float32)
        return {"hour": np.int64(self.hour), "state": state}
