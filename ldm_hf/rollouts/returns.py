"""Measurements of a policy from the returns of its episodes, and the seeds of these episodes."""

from __future__ import annotations

from typing import TypedDict, TypeVar

import numpy as np

from ..errors import LDMError

HELD_OUT_SEED = 1_000_000
"""Seed of the first episode that measures a policy: far from the seeds of collected episodes."""
SELECTION_SEED = 2_000_000
"""Seed of the first episode that chooses among policies: not used for collecting or for measuring the chosen policy."""
BAR = 0.8
"""Normalised score at which an environment counts as won."""

Returns = TypeVar("Returns", float, np.ndarray)


class Measurement(TypedDict, total=False):
    """How good a policy is in one environment.

    Attributes:
        mean: mean of the undiscounted returns.
        std: standard deviation of the returns.
        ci: half-width of the mean's 95 % confidence interval, if `ldm reference` measured the policy.
        episodes: number of episodes.
        seed: seed of the first episode.
        returns: returns of all episodes, in the order of their seeds.
    """

    mean: float
    std: float
    ci: float
    episodes: int
    seed: int
    returns: list[float]


Scores = dict[str, Measurement]
"""Measurements by policy: ``random`` and ``reference``."""


def measurement(returns: np.ndarray, seed: int) -> Measurement:
    """Summarises the returns ``(episodes,)`` of the episodes with seeds ``seed``, ``seed + 1``, ..."""
    return {
        "mean": float(np.mean(returns)),
        "std": float(np.std(returns)),
        "episodes": len(returns),
        "seed": seed,
        "returns": [float(value) for value in returns],
    }


def half_width(returns: np.ndarray) -> float:
    """Half-width of the mean's 95 % confidence interval by the normal approximation; 0 for a single return.

    Args:
        returns: returns of the episodes, ``(episodes,)``.
    """
    return float(1.96 * np.std(returns, ddof=1) / np.sqrt(len(returns))) if len(returns) > 1 else 0.0


def normalised_score(score: Returns, random: float, reference: float, name: str = "environment") -> Returns:
    """Computes ``(score - random) / (reference - random)``.

    Args:
        score: mean return, or an array of returns.
        random: mean return of random actions.
        reference: mean return of the reference policy.
        name: name of the environment, for messages.

    Returns:
        The score, 0 for random actions and 1 for the reference, in the shape of ``score``.

    Raises:
        LDMError: if the reference is not better than random, so that there is no scale.

    Example:
        >>> normalised_score(-50.0, random=-200.0, reference=-100.0)
        1.5
    """
    if not reference > random:
        raise LDMError(
            f"environment {name}: its reference policy ({reference:.4g}) is not better than random ({random:.4g}), "
            "so there is no scale for a normalised score; train the reference longer"
        )
    return (score - random) / (reference - random)
