"""Searches for the numbers of a scripted policy: each alone first, then all of them by a (1+1) evolution strategy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..environments.building import Kwargs

SHARE = 4  # of many numbers, as many as this are changed at once: more spoil each other
LOSS = 0.05  # a set is given up once it has lost this share of a mean return to the best in the episodes so far
GAIN = 1.002  # a better mean by less than this factor is chance


@dataclass(frozen=True)
class Number:
    """A parameter that is a number, or several.

    Args:
        start: value to begin with.
        step: typical change, of all or of each; that of the logarithm, if it is a factor.
        low: smallest value.
        high: largest value.
        factor: whether changes multiply.
    """

    start: float | tuple[float, ...]
    step: float | tuple[float, ...]
    low: float = -np.inf
    high: float = np.inf
    factor: bool = False

    def moved(self, value: np.ndarray, change: np.ndarray) -> np.ndarray:
        """The value after a change in units of the step."""
        change = np.asarray(self.step) * change
        moved = value * np.exp(change) if self.factor else value + change
        inside: np.ndarray = np.minimum(np.maximum(moved, self.low), self.high)
        return inside


Tunable = dict[str, Number | tuple[object, ...]]
"""Parameters of a policy by name: numbers, or the choices that there are, the first of which is the start."""


def tune(
    tunable: Tunable,
    returns_of: Callable[[Kwargs], Iterable[float]],
    evaluations: int = 70,
    seed: int = 0,
    start: Kwargs | None = None,
    until: float = math.inf,
) -> Kwargs:
    """The parameters with the highest mean return that a search finds.

    Args:
        tunable: what may change.
        returns_of: returns of a set of parameters in some episodes, the same and as many at every call; iterated over
            only while the set may still be better than the best.
        evaluations: how many sets to try.
        seed: seed of the random changes.
        start: parameters to begin with; those that are not tunable stay.
        until: time of the monotonic clock after which no set is begun.
    """
    numbers = {name: kind for name, kind in tunable.items() if isinstance(kind, Number)}
    best: Kwargs = {name: kind.start if isinstance(kind, Number) else kind[0] for name, kind in tunable.items()}
    best |= start or {}
    best |= {name: np.atleast_1d(np.asarray(best[name], float)) for name in numbers}
    highest, left = list(returns_of(_plain(best, numbers))), evaluations - 1
    known = [_plain(best, numbers)]

    def attempt(changes: Kwargs) -> bool:
        nonlocal best, highest, left
        tried = best | changes
        if time.monotonic() > until:
            left = 0
        if left <= 0 or _plain(tried, numbers) in known:  # a bound has stopped it
            return False
        left -= 1
        known.append(_plain(tried, numbers))
        returns: list[float] = []
        gained, usual = 0.0, float(np.mean(np.abs(highest)))
        for reached, before in zip(returns_of(known[-1]), highest, strict=True):
            returns.append(reached)
            gained += reached - before
            if gained < -LOSS * usual:
                return False
        better = gained > abs(sum(highest)) * (GAIN - 1)
        if better:
            best, highest = tried, returns
        return better

    for name, kind in tunable.items():
        if not isinstance(kind, Number):
            for choice in kind[1:]:
                attempt({name: choice})
            continue
        for axis in np.eye(len(best[name])):
            # the first that helps
            any(attempt({name: kind.moved(best[name], size * axis)}) for size in (1, -1, 2, -2))
    rng, width = np.random.default_rng(seed), 0.5
    for _ in range(10 * evaluations if numbers else 0):
        if left <= 0:
            break
        changes = {
            name: kind.moved(best[name], width * rng.normal(size=size) * (rng.random(size) < SHARE / size))
            for name, kind in numbers.items()
            if (size := len(best[name]))
        }
        width = min(1.0, width * 1.5) if attempt(changes) else max(0.1, width * 0.88)
    return _plain(best, numbers)


def _plain(values: Kwargs, numbers: dict[str, Number]) -> Kwargs:
    """The parameters as JSON has them, rounded."""
    found: Kwargs = {}
    for name, value in values.items():
        if name not in numbers:
            found[name] = value
            continue
        rounded = [float(f"{number:.4g}") for number in value]
        found[name] = rounded if isinstance(numbers[name].start, tuple) else rounded[0]
    return found
