"""Scores: returns on the scale from random (0) to reference (1), and their summary over environments."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LDMError, MissingExtraError
from ..trajectories.schema import write_atomically

THRESHOLDS = (50, 80, 100)  # per cent of the reference
VARIANTS = ("", "_history_only")  # with the task text; from history alone
RESAMPLES = 2000


def measurement(returns: np.ndarray, seed: int) -> dict[str, Any]:
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


def interquartile_mean(scores: Any, axis: int = 0) -> Any:
    """Mean of the middle half (Agarwal et al., 2021, https://arxiv.org/abs/2108.13264)."""
    return _stats().trim_mean(scores, proportiontocut=0.25, axis=axis)


def _stats() -> Any:
    # SciPy and not rliable: rliable 1.2 imports arch<8, which fails on import with pandas 3. What rliable calls is in SciPy, too.
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError("scipy", extra="eval") from error
    return stats


def interval(returns: list[np.ndarray], confidence: float = 0.95, seed: int = 0) -> list[float] | None:
    """Confidence interval of the interquartile mean by the stratified percentile bootstrap.

    Episodes are drawn anew within each environment; the environments themselves stay, as does the scale from random to
    reference. The interval thus says how well this model was measured on these environments, not how it would do on
    others.

    Args:
        returns: normalised returns ``(episodes,)`` of each environment.
        confidence: of the interval.
        seed: of the resampling.

    Returns:
        Lower and upper end; None if an environment has a single episode.
    """

    def statistic(*samples: np.ndarray, axis: int) -> np.ndarray:
        return interquartile_mean(np.stack([sample.mean(axis=axis) for sample in samples]))

    if all(len(values) > 1 for values in returns):
        found = _stats().bootstrap(
            returns, statistic, n_resamples=RESAMPLES, confidence_level=confidence, method="percentile", rng=seed
        )
        return [float(found.confidence_interval.low), float(found.confidence_interval.high)]
    return None  # of one episode nobody can tell how much another would differ


def summarise(environments: dict[str, dict[str, Any]], intervals: bool = True) -> dict[str, Any]:
    """Summary over environments, with the task text and (``_history_only``) without.

    Args:
        environments: as in the results, see `evaluate`.
        intervals: with ``iqm_ci``, which takes seconds for hundreds of environments.

    Returns:
        ``n``, ``at_least_50``, ``at_least_80``, ``at_least_100`` (numbers of environments), ``iqm`` (of their
        normalised scores, None without environments), ``iqm_ci`` (95 %; None unless the returns of all episodes are
        known), and the same with ``_history_only``.
    """
    summary: dict[str, Any] = {}
    for variant in VARIANTS:
        scores = np.array([entry[f"normalised{variant}"] for entry in environments.values()])
        summary[f"n{variant}"] = len(scores)
        for threshold in THRESHOLDS:
            summary[f"at_least_{threshold}{variant}"] = int((scores >= threshold / 100).sum())
        summary[f"iqm{variant}"] = float(interquartile_mean(scores)) if len(scores) else None
        known = (
            intervals
            and len(scores) > 0
            and all("returns" in entry[f"ldm{variant}"] for entry in environments.values())
        )
        summary[f"iqm_ci{variant}"] = interval(_normalised_returns(environments, variant)) if known else None
    return summary


def _normalised_returns(environments: dict[str, dict[str, Any]], variant: str) -> list[np.ndarray]:
    return [
        normalised_score(
            np.array(entry[f"ldm{variant}"]["returns"]), entry["random"]["mean"], entry["reference"]["mean"], name
        )
        for name, entry in environments.items()
    ]


def save_results(results: dict[str, Any], path: str | Path) -> None:
    """Writes results as JSON, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda numbers: re.sub(r"\s+", " ", numbers.group()), text)  # one line a list
    write_atomically(path, text + "\n")
