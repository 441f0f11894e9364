"""Which of two models is the better one, so that noise does not decide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..evaluation.scores import CONFIDENCE, EnvironmentResult, Results
from ..rollouts.returns import BAR

SAMPLES = 4000
DEVIATIONS = 1.645  # the one-sided 95 % point of a normal distribution


@dataclass(frozen=True)
class Comparison:
    """A new model beside an old one, over the environments that both were measured in.

    Args:
        better: whether the new one is to be kept.
        why: what decided, in a sentence.
        won: environments that the new one has at 80 % of the reference and the old one has not.
        lost: the other way round.
        lost_beyond_noise: those of ``lost`` whose score fell by more than chance explains.
        at_80: environments at 80 %, old and new.
        capped: mean of the scores, each cut off below 0 and above 1, old and new.
    """

    better: bool
    why: str
    won: tuple[str, ...]
    lost: tuple[str, ...]
    lost_beyond_noise: tuple[str, ...]
    at_80: tuple[int, int]
    capped: tuple[float, float]


def compare(old: Results, new: Results, seed: int = 0) -> Comparison:
    """Compares two models that played the same episodes.

    The environments are the same for both and are not chance; the episodes are. As both models play the same seeds,
    episodes are paired: the mean scores of both are sampled 4,000 times from a normal distribution with the episodes'
    means and covariance (a parametric bootstrap). The new model is kept if it has more environments at 80 % in 95 % of
    the samples. If neither has, the mean of the capped scores decides in the same way. If that does not decide
    either, the old one stays.

    Args:
        old: results of the model so far.
        new: results of the model that might take its place.
        seed: seed of the samples.
    """
    names = [name for name in old["environments"] if name in new["environments"]]
    if not names:
        return Comparison(False, "no environment was measured with both", (), (), (), (0, 0), (0.0, 0.0))
    pairs = [(old["environments"][name], new["environments"][name]) for name in names]
    means = np.array([[entry["normalised"] for entry in pair] for pair in pairs])  # (N, 2)
    roots = np.stack([_root(_covariance(*pair)) for pair in pairs])  # (N, 2, 2)
    noise = np.random.default_rng(seed).standard_normal((SAMPLES, len(names), 2))
    samples = means + np.einsum("nij,snj->sni", roots, noise)
    counts = (samples >= BAR - 1e-9).sum(axis=1)
    capped = np.clip(samples, 0, 1).mean(axis=1)
    better, why = False, "noise would explain the difference"
    for values, what in ((counts, "environments at 80 %"), (capped, "mean capped score")):
        more, fewer = ((sign * (values[:, 1] - values[:, 0]) > 1e-12).mean() for sign in (1, -1))
        if max(more, fewer) >= CONFIDENCE:
            better, word = bool(more > fewer), "higher" if more > fewer else "lower"
            why = f"{what}: {word} in {max(more, fewer):.0%} of the samples"
            break
    before, after = (means >= BAR - 1e-9).T
    differences = roots[:, 1] - roots[:, 0]  # rows of the root: their difference has the deviation of new - old
    falls = means[:, 1] - means[:, 0] + DEVIATIONS * np.linalg.norm(differences, axis=1) < 0
    named = np.array(names)
    return Comparison(
        better,
        why,
        won=tuple(map(str, named[after & ~before])),
        lost=tuple(map(str, named[before & ~after])),
        lost_beyond_noise=tuple(map(str, named[before & ~after & falls])),
        at_80=(int(before.sum()), int(after.sum())),
        capped=(float(np.clip(means[:, 0], 0, 1).mean()), float(np.clip(means[:, 1], 0, 1).mean())),
    )


def _covariance(old: EnvironmentResult, new: EnvironmentResult) -> np.ndarray:
    """Covariance ``(2, 2)`` of the mean scores of two models: zero with a single episode."""
    returns = [np.array(entry["ldm"].get("returns", ())) for entry in (old, new)]
    scales = [entry["reference"]["mean"] - entry["random"]["mean"] for entry in (old, new)]
    (first, second), counts = returns, [len(values) for values in returns]
    if min(counts) < 2:
        return np.zeros((2, 2))
    if counts[0] == counts[1] and old["ldm"].get("seed") == new["ldm"].get("seed"):
        return np.asarray(np.cov(np.stack([first / scales[0], second / scales[1]]))) / counts[0]
    return np.diag(
        [np.var(values / scale, ddof=1) / len(values) for values, scale in zip(returns, scales, strict=True)]
    )


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance matrix."""
    values, vectors = np.linalg.eigh(covariance)
    root: np.ndarray = vectors @ np.diag(np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return root
