"""A planner for the battery of a home, which knows its expected load and sun."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.libraries.pvlib.environment import HOURS, LOAD
from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation


class BatteryProgram(Reference):
    """Dynamic programming over hour and charge with expected load and sun.

    The last step is exact: it uses the load and sun of this hour.

    Args:
        env: the home.
        discount: discount per hour.
        sweeps: days of backward induction.
    """

    name = "battery_program"
    method = "planner"
    worlds = ("HomeBatteryEnv",)

    def __init__(self, env: gymnasium.Env, discount: float = 0.999, sweeps: int = 15) -> None:
        model = inside(env)
        self.model, self.discount = model, discount
        self.charges = np.linspace(0, model.capacity, 33)
        self.powers = np.linspace(-1, 1, 41) * model.power
        sky = np.random.default_rng(0).normal(size=10_000)
        expected_clearness = float((1 / (1 + np.exp(-1.5 * sky - 0.5))).mean())
        net_load = LOAD * np.exp(0.2**2 / 2) - model.solar * expected_clearness
        self.values = np.zeros((HOURS, len(self.charges)))
        for hour in [*range(HOURS - 1, -1, -1)] * sweeps:
            self.values[hour] = self._costs(self.charges[:, None], net_load[hour], hour).min(1)

    def _costs(self, charge: float | np.ndarray, net_load: float, hour: int) -> np.ndarray:
        """The cost of every power now plus the expected cost of what follows."""
        bought, after = self.model.transition(charge, self.powers, net_load)
        later = np.interp(after, self.charges, self.values[(hour + 1) % HOURS])
        costs: np.ndarray = self.model.cost(bought, hour) + self.discount * later
        return costs

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        charge, load, panels, _ = (float(value) for value in observation["state"])
        costs = self._costs(charge, load - panels, int(observation["hour"]))
        # of powers that cost the same, since the battery is full or empty, the smallest
        tied = np.flatnonzero(costs <= costs.min() + 1e-6)
        best = tied[np.abs(self.powers[tied]).argmin()]
        return np.array([self.powers[best] / self.model.power], np.float32)
