"""Hedging and exercising by QuantLib's values of options."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.control import bounded
from ldm_hf.spaces import Action, Info, Observation

BUMP = 1e-3  # share of the price by which it is moved to see how the value follows


class DeltaHedge(Reference):
    """Holds as many shares as the option's value follows the price by (Black & Scholes 1973); trades outside a band.

    Args:
        env: an option that was sold.
        band: difference to that number within which nothing is traded, for trading costs (Davis & Norman 1990).
    """

    name = "delta_hedge"
    worlds = ("OptionHedgeEnv",)

    def __init__(self, env: gymnasium.Env, band: float = 0.0) -> None:
        self.band = band

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, float]]:
        return [{"band": band} for band in ((0.0, 0.01, 0.02, 0.05) if inside(env).cost else (0.0,))]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        delta = (world.value(BUMP) - world.value(-BUMP)) / (2 * BUMP * world.price)
        held = float(np.clip(world.held, delta - self.band, delta + self.band))  # to the edge of the band at most
        return bounded(np.array([held]), env.action_space)


class EarlyExercise(Reference):
    """Exercises as soon as the option is worth no more than what it pays now (Barone-Adesi & Whaley 1987)."""

    name = "early_exercise"
    worlds = ("OptionExerciseEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        return np.int64(world.payoff > 0 and world.value() <= world.payoff + 1e-6)
