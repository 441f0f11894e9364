"""Scores: returns on the scale from random (0) to reference (1), and their summary over environments."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Literal, NotRequired, TypedDict, cast

import numpy as np

from ..environments.specs import families, family_of, get_spec
from ..errors import MissingExtraError, UnknownEnvironmentError, short
from ..rollouts.returns import BAR, Measurement, normalised_score

Variant = Literal["ldm", "ldm_history_only"]

THRESHOLDS = (50, 80, 100)
"""Per cent of the reference at which environments are counted."""
RESAMPLES = 2000
"""Bootstrap samples for a confidence interval."""
CONFIDENCE = 0.95
"""Of the one-sided test whether a model is below its reference."""


class EnvironmentResult(TypedDict):
    """How random actions, the reference policy and the model did in one environment.

    Attributes:
        domain: Domain of the environment.
        random: Returns of random actions.
        reference: Returns of the reference policy.
        ldm: Returns of the model with its task text.
        normalised: Normalised score of ``ldm``.
        ldm_history_only: Returns of the model with an empty task text, so that it acts from its history alone.
        normalised_history_only: Normalised score of ``ldm_history_only``.
        family: Family of the environment; `described` adds it, as the two that follow.
        library: Library that it comes from; empty if that is not known.
        matched: Whether ``ldm`` is not below the reference by a test, see `is_matched`.
    """

    domain: str
    random: Measurement
    reference: Measurement
    ldm: Measurement
    normalised: float
    ldm_history_only: Measurement
    normalised_history_only: float
    family: NotRequired[str]
    library: NotRequired[str]
    matched: NotRequired[bool]


class Summary(TypedDict):
    """Scores over environments, with the task text and (``_history_only``) without.

    Attributes:
        n: Number of environments.
        families: Number of families that they belong to.
        families_at_least_80: Number of families whose score (`family_scores`) is 80 % of the reference or more.
        matched: Number of environments in which the model is not below the reference by a test, see `is_matched`.
        at_least_50: Number of environments at 50 % of the reference or more.
        at_least_80: Number of environments at 80 % of the reference or more.
        at_least_100: Number of environments at the reference or above.
        iqm: Interquartile mean of the normalised scores; None without environments.
        iqm_ci: Ends of its 95 % interval; None unless the returns of all episodes are known.
        n_history_only: Number of environments, as ``n``.
        at_least_50_history_only: ``at_least_50`` without the task text.
        at_least_80_history_only: ``at_least_80`` without the task text.
        at_least_100_history_only: ``at_least_100`` without the task text.
        iqm_history_only: ``iqm`` without the task text.
        iqm_ci_history_only: ``iqm_ci`` without the task text.
    """

    n: int
    families: NotRequired[int]
    families_at_least_80: NotRequired[int]
    matched: NotRequired[int]
    at_least_50: int
    at_least_80: int
    at_least_100: int
    iqm: float | None
    iqm_ci: list[float] | None
    n_history_only: int
    at_least_50_history_only: int
    at_least_80_history_only: int
    at_least_100_history_only: int
    iqm_history_only: float | None
    iqm_ci_history_only: list[float] | None


class Results(TypedDict):
    """What ``results.json`` holds.

    Attributes:
        environments: Results by the name of the environment.
        command: Command line that made them.
        measured: Fingerprint of the model and the options; results that differ in them are not mixed.
        versions: Versions of Python and of the packages that decide results.
        failures: Messages by the name of the environment, if something could not be measured.
        summary: Summary over ``environments``.
    """

    environments: dict[str, EnvironmentResult]
    command: str
    measured: dict[str, object]
    versions: dict[str, str]
    failures: NotRequired[dict[str, str]]
    summary: Summary


def check_result(entry: EnvironmentResult) -> None:
    """Checks what a file says of one environment.

    Raises:
        ValueError: if a number is none, or not finite.
        KeyError: if a field is missing.
        TypeError: if it is something else.
    """
    numbers = [entry["normalised"], entry["normalised_history_only"]]
    for measured in (entry["random"], entry["reference"], entry["ldm"], entry["ldm_history_only"]):
        numbers += [measured["mean"], measured["episodes"], *measured.get("returns", [])]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise ValueError("a score is no finite number")
    if not isinstance(entry["domain"], str):
        raise ValueError(f"the domain is {short(entry['domain'])}")


def described(name: str, entry: EnvironmentResult) -> EnvironmentResult:
    """The result with ``family``, ``library`` and ``matched``, which follow from it and the catalogue.

    Args:
        name: Name of the environment.
        entry: What was measured in it.
    """
    try:
        library = get_spec(name).library
    except UnknownEnvironmentError:
        library = ""
    matched = is_matched(entry["ldm"], entry["reference"])
    return {**entry, "family": family_of(name), "library": library, "matched": matched}


def is_matched(model: Measurement, reference: Measurement) -> bool:
    """Whether a model is not below the reference by Welch's one-sided t-test at 95 %, over the episodes' returns.

    Few and noisy episodes match more easily. Where neither policy's returns vary, the means decide.

    Args:
        model: Returns of the model.
        reference: Returns of the reference policy.
    """
    (ours, spread), (theirs, their_spread) = _squared_error(model), _squared_error(reference)
    below, variance = reference["mean"] - model["mean"], ours + theirs
    if variance <= 0:
        return below <= 1e-9 * max(1.0, abs(reference["mean"]))  # sums in another order differ
    # degrees of freedom by Welch and Satterthwaite
    freedom = variance**2 / sum(part**2 / free for part, free in ((ours, spread), (theirs, their_spread)) if part)
    return bool(below <= math.sqrt(variance) * _stats().t.ppf(CONFIDENCE, freedom))


def _squared_error(measured: Measurement) -> tuple[float, int]:
    """Squared standard error of a mean, 0 for a single episode, and its degrees of freedom."""
    freedom = max(measured["episodes"] - 1, 1)
    if measured["episodes"] < 2:
        return 0.0, freedom
    if "returns" in measured:
        return float(np.var(measured["returns"])) / freedom, freedom
    return ((measured["ci"] / 1.96) ** 2 if "ci" in measured else measured["std"] ** 2 / freedom), freedom


def family_scores(environments: Mapping[str, EnvironmentResult]) -> dict[str, float]:
    """The score of each family: the median of its environments' normalised scores.

    So half of a family or more is where the family is, and one environment far below random does not decide.
    """
    members: dict[str, list[float]] = {}
    for name, entry in environments.items():
        members.setdefault(family_of(name), []).append(entry["normalised"])
    return {family: float(np.median(scores)) for family, scores in members.items()}


def interquartile_mean(scores: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the middle half (Agarwal et al., 2021, https://arxiv.org/abs/2108.13264)."""
    return np.asarray(_stats().trim_mean(scores, proportiontocut=0.25, axis=axis))


def _stats() -> ModuleType:
    # SciPy and not rliable: rliable 1.2 imports arch<8, which fails on import with pandas 3. SciPy has what it calls.
    try:
        return importlib.import_module("scipy.stats")
    except ImportError as error:
        raise MissingExtraError("scipy", extra="eval") from error


def interval(returns: list[np.ndarray], confidence: float = 0.95, seed: int = 0) -> list[float] | None:
    """Confidence interval of the interquartile mean by the stratified percentile bootstrap.

    Episodes are resampled within each environment; the environments themselves stay, as does the scale from random to
    reference. The interval thus says how well this model was measured on these environments, not how it would do on
    others.

    Args:
        returns: Normalised returns ``(episodes,)`` of each environment.
        confidence: Probability that the interval covers the true value.
        seed: Seed of the resampling.

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
    return None  # a single episode says nothing about how much another would differ


def summarise(environments: dict[str, EnvironmentResult], intervals: bool = True) -> Summary:
    """Counts environments at each threshold and averages their scores.

    Args:
        environments: Results by the name of the environment.
        intervals: Whether to compute ``iqm_ci``, which takes seconds for hundreds of environments.
    """
    with_task = _of_variant(environments, "ldm", [entry["normalised"] for entry in environments.values()], intervals)
    history_only = _of_variant(
        environments,
        "ldm_history_only",
        [entry["normalised_history_only"] for entry in environments.values()],
        intervals,
    )
    others = {f"{key}_history_only": value for key, value in history_only.items()}
    ours = {
        "families": families(environments),
        "families_at_least_80": sum(score >= BAR for score in family_scores(environments).values()),
        "matched": sum(is_matched(entry["ldm"], entry["reference"]) for entry in environments.values()),
    }
    return cast(Summary, with_task | ours | others)


def _of_variant(
    environments: dict[str, EnvironmentResult], variant: Variant, normalised: list[float], intervals: bool
) -> dict[str, object]:
    """The summary of one variant, without its suffix."""
    scores = np.array(normalised)
    counts = {f"at_least_{threshold}": int((scores >= threshold / 100).sum()) for threshold in THRESHOLDS}
    known = intervals and len(scores) > 0 and all("returns" in entry[variant] for entry in environments.values())
    return {
        "n": len(scores),
        **counts,
        "iqm": float(interquartile_mean(scores)) if len(scores) else None,
        "iqm_ci": interval(_normalised_returns(environments, variant)) if known else None,
    }


def _normalised_returns(environments: dict[str, EnvironmentResult], variant: Variant) -> list[np.ndarray]:
    return [
        normalised_score(
            np.array(entry[variant]["returns"]), entry["random"]["mean"], entry["reference"]["mean"], name
        )
        for name, entry in environments.items()
    ]
