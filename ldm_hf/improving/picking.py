"""Where a model lags, and how many of its own steps to collect there."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..environments import EnvironmentSpec
from ..rollouts.returns import BAR

LEAST_STEPS = 100  # fewer do not pay for making the environment


@dataclass(frozen=True)
class Standing:
    """How a model does in one environment, and what its steps cost there.

    Args:
        name: name of the environment.
        domain: its domain.
        family: its family.
        score: normalised score of the model.
        fruitless: rounds in a row, up to now, whose steps did not raise the score.
        seconds_to_make: time to make the environment and its reference.
        steps_per_second: speed of collection, labels included.
    """

    name: str
    domain: str
    family: str
    score: float
    fruitless: int = 0
    seconds_to_make: float = 0.0
    steps_per_second: float = math.inf


def of_each_family(specs: Sequence[EnvironmentSpec], most: int | None, seed: int) -> list[EnvironmentSpec]:
    """So many environments of each family, drawn once and for all.

    Args:
        specs: environments to draw from.
        most: how many of a family; None for all of them.
        seed: seed of the draw.
    """
    drawn: dict[str, list[str]] = defaultdict(list)
    # a name decides its own place, so that environments which join later do not change the draw
    for spec in sorted(specs, key=lambda spec: random.Random(f"{seed} {spec.name}").random()):
        drawn[spec.family].append(spec.name)
    chosen = {name for names in drawn.values() for name in names[:most]}
    return [spec for spec in specs if spec.name in chosen]


def spread(specs: Sequence[EnvironmentSpec], scores: Mapping[str, float]) -> dict[str, float]:
    """Scores by name, where an environment that was not measured has the mean of its family, if any of it was.

    Args:
        specs: the environments.
        scores: scores of those that were measured.
    """
    families: dict[str, list[float]] = defaultdict(list)
    for spec in specs:
        if spec.name in scores:
            families[spec.family].append(scores[spec.name])
    means = {family: float(np.mean(values)) for family, values in families.items()}
    return {spec.name: scores.get(spec.name, means[spec.family]) for spec in specs if spec.family in means}


def need(standing: Standing) -> float:
    """How much an environment needs: its gap to 80 % of the reference, and half of its gap to 100 %.

    Both are 1 where the model acts at random. Each fruitless round halves the sum, so that what cannot be learnt does
    not take the time of the rest for ever.

    Returns:
        A number from 0 (at the reference) to 1.5.
    """
    below_bar = np.clip((BAR - standing.score) / BAR, 0, 1)
    below_reference = np.clip(1 - standing.score, 0, 1)
    return float(below_bar + below_reference / 2) / 2.0**standing.fruitless


def shares(standings: Sequence[Standing]) -> dict[str, float]:
    """The share of each environment that lags in what is to be collected; they add up to 1.

    Domains share the whole by the square root of their need, families likewise their domain, and environments their
    family by need. The root is between equal shares, which would spoil a domain that hardly lags, and proportional
    ones, by which the largest family would get nearly everything. A family needs as much as its neediest environment,
    a domain as much as its families together.

    Args:
        standings: all environments, each once.

    Returns:
        Shares by name, without the environments that need nothing.
    """
    needs = {standing.name: need(standing) for standing in standings}
    members: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for standing in standings:
        if needs[standing.name] > 0:
            members[standing.domain][standing.family].append(standing.name)
    families = {
        domain: {family: max(needs[name] for name in names) for family, names in parts.items()}
        for domain, parts in members.items()
    }
    found = {}
    of_domains = _parts({domain: math.sqrt(sum(parts.values())) for domain, parts in families.items()})
    for domain, parts in families.items():
        of_families = _parts({family: math.sqrt(value) for family, value in parts.items()})
        for family, names in members[domain].items():
            for name, part in _parts({name: needs[name] for name in names}).items():
                found[name] = of_domains[domain] * of_families[family] * part
    return found


def _parts(sizes: dict[str, float]) -> dict[str, float]:
    total = sum(sizes.values())
    return {name: size / total for name, size in sizes.items()}


def pick(standings: Sequence[Standing], seconds: float, most: int, steps: int | None = None) -> dict[str, int]:
    """How many steps to collect in which environments.

    Each environment gets its share (`shares`) of the time. What one cannot use, since it has ``most`` steps already, is
    left to the others; one whose share would not pay for making it is left out, the smallest share first.

    Args:
        standings: all environments, each once.
        seconds: time of one process for all of them.
        most: most steps in one environment.
        steps: number of steps to share out instead of the time.

    Returns:
        Steps by name; empty if the model lags nowhere.
    """
    by_name = {standing.name: standing for standing in standings}
    left = shares(standings)
    while left:
        if steps is None:
            spread = _poured(left, seconds, {name: _cost(by_name[name], most) for name in left})
            counts = {name: _steps(by_name[name], time, most) for name, time in spread.items()}
        else:
            spread = _poured(left, float(steps), dict.fromkeys(left, float(most)))
            counts = {name: round(count) for name, count in spread.items()}
        least = min(LEAST_STEPS, most)
        if len(left) == 1 or all(count >= least for count in counts.values()):
            return {name: max(count, least) for name, count in sorted(counts.items())}
        del left[min((name for name in left if counts[name] < least), key=lambda name: (left[name], name))]
    return {}


def _cost(standing: Standing, steps: int) -> float:
    """Seconds that so many steps take."""
    return standing.seconds_to_make + steps / standing.steps_per_second


def _steps(standing: Standing, seconds: float, most: int) -> int:
    """Steps that are made in this time."""
    left = max(0.0, seconds - standing.seconds_to_make)
    return most if math.isinf(standing.steps_per_second) else min(most, int(left * standing.steps_per_second + 1e-6))


def _poured(shares: dict[str, float], amount: float, limits: dict[str, float]) -> dict[str, float]:
    """An amount in proportion to the shares, none of which exceeds its limit."""
    full: dict[str, float] = {}
    while True:
        open_ = {name: share for name, share in shares.items() if name not in full}
        rest, total = amount - sum(full.values()), sum(open_.values())
        parts = {name: rest * share / total for name, share in open_.items()}
        over = {name: limits[name] for name, part in parts.items() if part > limits[name]}
        if not over:
            return full | parts
        full |= over
