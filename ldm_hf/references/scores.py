"""How good the reference policies are, as `ldm reference` has measured it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..environments.library_folders import AttemptSummary, MeanReturn, ScoreRecord, measured, save_measured
from ..environments.specs import get_spec
from ..rollouts.returns import Measurement

if TYPE_CHECKING:  # listing the catalogue reads scores, and must not import torch
    from .records import Attempt, Record


def reference_scores() -> dict[str, ScoreRecord]:
    """Scores by the name of the environment, as the folders of the libraries record them.

    Raises:
        LDMError: if a file cannot be read.
    """
    return measured()["scores"]


def entry(record: Record) -> ScoreRecord:
    """The score record of one environment."""
    best, random = record.best, record.random
    assert random is not None, f"{record.name}: random actions are measured before any policy"
    return {
        "random": _rounded(random),
        "reference": _rounded(best.score) if best and best.score else None,
        "policy": best.reference if best else None,
        "kwargs": best.kwargs if best else {},
        "method": best.method if best else None,
        "beats_random": record.beats_random,
        "good": record.good,
        "episodes": random["episodes"],
        "seed": random["seed"],
        "seconds": record.seconds,
        "attempts": [_summary(attempt) for attempt in record.attempts],
        "row": record.row,
        "library": record.library,
        "versions": record.versions,
    }


def save_scores(records: list[Record]) -> None:
    """Records scores in the folders of the libraries; other environments stay as they are.

    Raises:
        LDMError: if an environment is not in the catalogue of the package.
    """
    for record in records:
        save_measured("scores", get_spec(record.name).library, {record.name: entry(record)})


def _rounded(score: Measurement) -> MeanReturn:
    """Mean and interval with six digits."""
    return {"mean": float(f"{score['mean']:.6g}"), "ci": float(f"{score['ci']:.6g}")}


def _summary(attempt: Attempt) -> AttemptSummary:
    summary: AttemptSummary = {"policy": attempt.reference, "method": attempt.method, "seconds": attempt.seconds}
    if attempt.kwargs:
        summary["kwargs"] = attempt.kwargs
    if attempt.score:
        score = _rounded(attempt.score)
        summary["mean"], summary["ci"] = score["mean"], score["ci"]
    if attempt.error:
        summary["error"] = attempt.error[:200]
    if training := attempt.training:
        summary["algorithm"] = training["algorithm"]
        summary["steps"] = training["steps"]
        summary["hyperparameters"] = training["hyperparameters"]
        summary["seed"] = training["seed"]
        summary["configurations"] = len(training.get("configurations", [])) or 1
    return summary
