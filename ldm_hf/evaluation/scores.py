"""Scores: returns on the scale from random (0) to reference (1), and their summary over environments."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MissingExtraError
from ..rollouts.returns import normalised_score

THRESHOLDS = (50, 80, 100)  # per cent of the reference
VARIANTS = ("", "_history_only")  # with the task text; from history alone
RESAMPLES = 2000


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
