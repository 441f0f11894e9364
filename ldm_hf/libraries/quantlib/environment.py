"""Options that were sold and have to be hedged, or are held and may be exercised, valued by QuantLib."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import QuantLib as ql
from gymnasium import spaces

from ldm_hf.spaces import Action, Info

TODAY = ql.Date(1, 1, 2025)  # every valuation is made on this day, with as many days left as there are
DAY = 1.0 / 365.0
STRIKE, BARRIER, CASH = 100.0, 90.0, 10.0
KINDS = ("call", "digital", "knock_out", "lookback", "asian", "american_put")


class Market:
    """The price of a share, one step a day, and what options on it are worth.

    Args:
        process: ``black_scholes``, or ``heston``, whose volatility is random, too.
        volatility: volatility of the price, a year; with ``heston`` its long-term mean.
        rate: interest rate, a year.
    """

    def __init__(self, process: str, volatility: float, rate: float) -> None:
        ql.Settings.instance().evaluationDate = TODAY
        days = ql.Actual365Fixed()
        self.heston, self.volatility, self.rate = process == "heston", volatility, rate
        self.quote = ql.SimpleQuote(STRIKE)
        self.rates = ql.YieldTermStructureHandle(ql.FlatForward(TODAY, rate, days))
        self.dividends = ql.YieldTermStructureHandle(ql.FlatForward(TODAY, 0.0, days))
        surface = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(TODAY, ql.NullCalendar(), volatility, days))
        self.process = ql.BlackScholesMertonProcess(ql.QuoteHandle(self.quote), self.dividends, self.rates, surface)
        self.engines = {
            "call": ql.AnalyticEuropeanEngine(self.process),
            "digital": ql.AnalyticEuropeanEngine(self.process),
            "knock_out": ql.AnalyticBarrierEngine(self.process),
            "lookback": ql.AnalyticContinuousFloatingLookbackEngine(self.process),
            "asian": ql.AnalyticDiscreteGeometricAveragePriceAsianEngine(self.process),
            "american_put": ql.BaroneAdesiWhaleyApproximationEngine(self.process),
        }

    def _stochastic(self, price: float, variance: float) -> Any:
        """Heston's process (1993) from a price and a variance on, with the usual parameters of shares."""
        quote = ql.QuoteHandle(ql.SimpleQuote(price))
        return ql.HestonProcess(self.rates, self.dividends, quote, variance, 3.0, self.volatility**2, 0.5, -0.7)

    def tomorrow(self, price: float, variance: float, rng: np.random.Generator) -> tuple[float, float]:
        """Draws the price and the variance of the next day."""
        if not self.heston:
            return float(self.process.evolve(0.0, price, DAY, float(rng.normal()))), variance
        process = self._stochastic(price, variance)
        after = process.evolve(0.0, ql.Array([price, variance]), DAY, ql.Array(rng.normal(size=2).tolist()))
        return float(after[0]), max(float(after[1]), 1e-4)

    def value(self, kind: str, price: float, variance: float, past: list[float], left: int) -> float:
        """What an option is worth.

        Args:
            kind: one of `KINDS`.
            price: price of the share.
            variance: variance of the price, a year; only Heston's process asks for it.
            past: prices of the days so far, today's included.
            left: days until it expires.
        """
        if kind == "knock_out" and min(past) <= BARRIER:
            return 0.0
        if left == 0:
            return self._payoff(kind, price, past)
        expiry = TODAY + left
        self.quote.setValue(price)
        right = ql.EuropeanExercise(expiry)
        payoff = ql.PlainVanillaPayoff(ql.Option.Call, STRIKE)
        if kind == "digital":
            option = ql.VanillaOption(ql.CashOrNothingPayoff(ql.Option.Call, STRIKE, CASH), right)
        elif kind == "knock_out":
            option = ql.BarrierOption(ql.Barrier.DownOut, BARRIER, 0.0, payoff, right)
        elif kind == "lookback":
            option = ql.ContinuousFloatingLookbackOption(min(past), ql.FloatingTypePayoff(ql.Option.Call), right)
        elif kind == "asian":
            dates = [TODAY + day for day in range(1, left + 1)]
            product = float(np.prod(past))
            option = ql.DiscreteAveragingAsianOption(ql.Average.Geometric, product, len(past), dates, payoff, right)
        elif kind == "american_put":
            right = ql.AmericanExercise(TODAY, expiry)
            option = ql.VanillaOption(ql.PlainVanillaPayoff(ql.Option.Put, STRIKE), right)
        else:
            option = ql.VanillaOption(payoff, right)
        engine = self.engines[kind]
        if self.heston:
            engine = ql.AnalyticHestonEngine(ql.HestonModel(self._stochastic(price, variance)), 32)
        option.setPricingEngine(engine)
        return float(option.NPV())

    @staticmethod
    def _payoff(kind: str, price: float, past: list[float]) -> float:
        if kind == "digital":
            return CASH * (price > STRIKE)
        if kind == "lookback":
            return price - min(past)
        if kind == "asian":
            return max(float(np.exp(np.mean(np.log(past)))) - STRIKE, 0.0)
        return max(STRIKE - price if kind == "american_put" else price - STRIKE, 0.0)


class _OptionEnv(gymnasium.Env):
    """What both tasks share: a price that starts near the strike, and an option until it expires.

    The observation holds price and mean price so far as shares of the strike, the smallest likewise, years left, the
    volatility of now, and shares held.

    Args:
        option: one of `KINDS`.
        process: process of the price, see `Market`.
        steps: days until the option expires.
        volatility: volatility of the price, a year.
        rate: interest rate, a year.
    """

    def __init__(self, option: str, process: str, steps: int, volatility: float, rate: float) -> None:
        if option not in KINDS:
            raise ValueError(f"option={option!r} is none of {', '.join(KINDS)}")
        if process == "heston" and option != "call":
            raise ValueError(f"option={option!r} cannot be valued with process='heston'; give option='call'")
        self.option, self.steps = option, steps
        self.market = Market(process, volatility, rate)
        self.observation_space = spaces.Box(-10.0, 10.0, (6,), np.float32)
        self.path: list[float] = []
        self.variance, self.held = volatility**2, 0.0

    @property
    def price(self) -> float:
        """Price of the share today."""
        return self.path[-1]

    @property
    def left(self) -> int:
        """Days until the option expires."""
        return self.steps - (len(self.path) - 1)

    def value(self, shift: float = 0.0) -> float:
        """What the option is worth today, or would be if the price were another.

        Args:
            shift: change of today's price, as a share of it.
        """
        price = self.price * (1.0 + shift)
        return self.market.value(self.option, price, self.variance, [*self.path[:-1], price], self.left)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        super().reset(seed=seed)
        self.path = [STRIKE * float(np.exp(0.03 * self.np_random.normal()))]
        self.variance, self.held = self.market.volatility**2, 0.0
        return self._observation(), {}

    def _tomorrow(self) -> None:
        price, self.variance = self.market.tomorrow(self.price, self.variance, self.np_random)
        self.path.append(price)

    def _observation(self) -> np.ndarray:
        path = np.array(self.path) / STRIKE
        seen = [path[-1], path.mean(), path.min(), self.left * DAY, np.sqrt(self.variance), self.held]
        return np.clip(np.array(seen, np.float32), -10.0, 10.0)


class OptionHedgeEnv(_OptionEnv):
    """Hold shares such that the option that was sold is made up for: any difference costs, and so does trading.

    Args:
        option: one of `KINDS`.
        process: process of the price, see `Market`.
        steps: days until the option expires.
        volatility: volatility of the price, a year.
        cost: cost of a trade, as a share of its price.
        render_mode: Gymnasium's; nothing is rendered.
    """

    def __init__(
        self,
        option: str = "call",
        process: str = "black_scholes",
        steps: int = 30,
        volatility: float = 0.2,
        cost: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        # without interest, an American put is a European one, and the formula for a lookback divides by zero
        rate = 0.05 if option in ("american_put", "lookback") else 0.0
        super().__init__(option, process, steps, volatility, rate)
        self.cost = cost
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        shares = float(np.clip(action[0], -1.0, 1.0))
        paid = self.cost * abs(shares - self.held) * self.price
        worth, price, self.held = self.value(), self.price, shares
        self._tomorrow()
        after = self.value()
        missing = abs(shares * (self.price - price) - (after - worth))
        over = self.left == 0 or (self.option == "knock_out" and after == 0.0)
        return self._observation(), -missing - paid, over, False, {}


class OptionExerciseEnv(_OptionEnv):
    """Hold an American put or exercise it; what it pays is discounted to the first day.

    Args:
        steps: days until the option expires.
        volatility: volatility of the price, a year.
        rate: interest rate, a year, for which it may be better to exercise early.
        render_mode: Gymnasium's; nothing is rendered.
    """

    def __init__(
        self, steps: int = 90, volatility: float = 0.3, rate: float = 0.1, render_mode: str | None = None
    ) -> None:
        super().__init__("american_put", "black_scholes", steps, volatility, rate)
        self.action_space = spaces.Discrete(2)

    @property
    def payoff(self) -> float:
        """What exercising pays today."""
        return max(STRIKE - self.price, 0.0)

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        exercised = bool(action)
        if not exercised:
            self._tomorrow()
        over = exercised or self.left == 0
        discount = float(np.exp(-self.market.rate * (self.steps - self.left) * DAY))
        return self._observation(), self.payoff * discount if over else 0.0, over, False, {}
