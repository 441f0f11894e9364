"""How good the reference policies are: what `ldm reference` has measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..environments.library_folders import measured, save_measured
from ..environments.specs import get_spec

if TYPE_CHECKING:  # listing the catalogue reads scores, and is not to import torch
    from .records import Attempt, Record


def reference_scores() -> dict[str, dict[str, Any]]:
    """Scores by the name of the environment, as the folders of the libraries record them.

    Returns:
        ``{name: {"random": {"mean", "ci"}, "reference": {"mean", "ci"}, "policy", "kwargs", "method", "beats_random", "good", "episodes", "seed",
        "seconds", "attempts", "row", "library", "versions"}}``. Intervals are ``mean ± ci`` at 95 %; ``policy`` is the `name` of a policy or ``rl``;
        ``reference``, ``policy`` and ``method`` are None where nothing could be measured.

    Raises:
        LDMError: if a file cannot be read.
    """
    return measured("scores")


def entry(record: Record) -> dict[str, Any]:
    """What the table says of one environment."""
    best, random = record.best, record.random or {}
    return {
        "random": _short(random),
        "reference": _short(best.score) if best else None,
        "policy": best.reference if best else None,
        "kwargs": best.kwargs if best else {},
        "method": best.method if best else None,
        "beats_random": record.beats_random,
        "good": record.good,
        "episodes": random.get("episodes"),
        "seed": random.get("seed"),
        "seconds": record.seconds,
        "attempts": [_told(attempt) for attempt in record.attempts],
        "row": record.row,
        "library": record.library,
        "versions": record.versions,
    }


def save_scores(records: list[Record]) -> None:
    """Records scores in the folders of the libraries; what they say of other environments stays.

    Raises:
        LDMError: if an environment is not in the catalogue of the package.
    """
    for record in records:
        save_measured("scores", get_spec(record.name).library, {record.name: entry(record)})


def _short(score: dict[str, Any] | None) -> dict[str, float] | None:
    return {key: float(f"{score[key]:.6g}") for key in ("mean", "ci")} if score else None


def _told(attempt: Attempt) -> dict[str, Any]:
    told: dict[str, Any] = {"policy": attempt.reference, "method": attempt.method, "seconds": attempt.seconds}
    if attempt.kwargs:
        told["kwargs"] = attempt.kwargs
    if attempt.score:
        told |= _short(attempt.score) or {}
    if attempt.error:
        told["error"] = attempt.error[:200]
    if attempt.training:
        kept = ("algorithm", "steps", "hyperparameters", "seed")
        told |= {key: attempt.training[key] for key in kept if key in attempt.training}
        told["configurations"] = len(attempt.training.get("configurations", [])) or 1
    return told
