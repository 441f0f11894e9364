"""Returns of episodes: what is measured of a policy, and on which seeds."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np

from ..errors import LDMError

HELD_OUT_SEED = 1_000_000
"""Seed of the first episode that measures a policy: far from the seeds of collected episodes."""
SELECTION_SEED = 2_000_000
"""Seed of the first episode that chooses among policies: neither those that measure the finished policy nor those that are collected."""


class Measurement(TypedDict, total=False):
    """How good a policy is in one environment.

    Attributes:
        mean: of the undiscounted returns.
        std: of the returns.
        ci: half of the 95 % interval of the mean, where it was measured by `ldm reference`.
        episodes: how many.
        seed: of the first episode.
        returns: of all episodes, in the order of their seeds.
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
    """Mean, standard deviation and all of the returns ``(episodes,)`` of episodes ``seed``, ``seed + 1``, ..."""
    return {
        "mean": float(np.mean(returns)),
        "std": float(np.std(returns)),
        "episodes": len(returns),
        "seed": seed,
        "returns": [float(value) for value in returns],
    }


def half_width(returns: np.ndarray) -> float:
    """Half of the 95 % confidence interval of the mean of the returns ``(episodes,)``, by the normal approximation; 0 for a single one."""
    return float(1.96 * np.std(returns, ddof=1) / np.sqrt(len(returns))) if len(returns) > 1 else 0.0


def normalised_score(score: Any, random: float, reference: float, name: str = "environment") -> Any:
    """``(score - random) / (reference - random)``.

    Args:
        score: mean return, or an array of returns.
        random: mean return of random actions.
        reference: mean return of the reference policy.
        name: of the environment, for messages.

    Returns:
        0 for random, 1 for the reference; shape of ``score``.

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
