"""How good the reference policies are: what `ldm reference` has measured, packaged as ``scores.json``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LDMError

if TYPE_CHECKING:  # listing the catalogue reads scores, and is not to import torch
    from .records import Attempt, Record

PACKAGED = Path(__file__).with_name("scores.json")


@cache
def reference_scores(path: Path = PACKAGED) -> dict[str, dict[str, Any]]:
    """Scores by the name of the environment.

    Args:
        path: by default those that come with the package.

    Returns:
        ``{name: {"random": {"mean", "ci"}, "reference": {"mean", "ci"}, "policy", "kwargs", "method", "beats_random", "good", "episodes", "seed",
        "seconds", "attempts", "row", "library", "versions"}}``. Intervals are ``mean ± ci`` at 95 %; ``policy`` is a key of `POLICIES` or ``rl``;
        ``reference``, ``policy`` and ``method`` are None where nothing could be measured.

    Raises:
        LDMError: if the file cannot be read.
    """
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LDMError(
            f"the scores {path} cannot be read: {error}; remove the file and run `ldm reference --scores` again"
        ) from error


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


def write_scores(records: list[Record], path: Path) -> dict[str, dict[str, Any]]:
    """Adds records to a file, one line an environment; what it says of other environments stays. Returns all of them."""
    from ..trajectories.schema import write_atomically

    known, new = reference_scores(path), {record.name: entry(record) for record in records}
    if all(known.get(name) == told for name, told in new.items()):
        return known
    scores = known | new
    lines = [f"{json.dumps(name)}: {json.dumps(scores[name], allow_nan=False)}" for name in sorted(scores)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n")
    reference_scores.cache_clear()
    return scores


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
