"""How good the reference policies are, as `ldm reference` has measured it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ..environments.library_folders import (
    AttemptSummary,
    MeanReturn,
    PublicScore,
    ScoreRecord,
    measured,
    save_measured,
)
from ..environments.specs import EnvironmentSpec, catalogue, get_spec
from ..rollouts.returns import Measurement

if TYPE_CHECKING:  # listing the catalogue reads scores, and must not import torch
    from .records import Attempt, Record


class ListedReference(TypedDict):
    """One row with a measured reference, as `ldm reference --list --json` prints it.

    Attributes:
        name: name of the row.
        family: its family.
        domain: its domain.
        library: its library.
        method: how the reference came about, see `kind`.
        random: score of random actions.
        reference: score of the reference.
        beats_random: whether the reference is better than random, with both 95 % intervals apart.
        public: the best published score of an agent; None if there is none.
        of_public: how far the reference comes from random actions to it; None unless both are at its conditions.
    """

    name: str
    family: str
    domain: str
    library: str
    method: str
    random: MeanReturn
    reference: MeanReturn
    beats_random: bool
    public: PublicScore | None
    of_public: float | None


def reference_list() -> list[ListedReference]:
    """All rows of the catalogue with a measured reference.

    Raises:
        LDMError: if a file cannot be read.
    """
    scores = reference_scores()
    return [
        {
            "name": row.name,
            "family": row.family,
            "domain": row.domain,
            "library": row.library,
            "method": kind(scores[row.name]),
            "random": scores[row.name]["random"],
            "reference": reference,
            "beats_random": scores[row.name]["beats_random"],
            "public": row.public,
            "of_public": of_public(row, scores[row.name]),
        }
        for row in catalogue().values()
        if row.name in scores and (reference := scores[row.name]["reference"]) is not None
    ]


def kind(record: ScoreRecord) -> str:
    """The method of the reference; ``constant`` and ``gait`` for these two, which are heuristics, too."""
    return str(record["policy"] if record["policy"] in ("constant", "gait") else record["method"])


def of_public(row: EnvironmentSpec, record: ScoreRecord) -> float | None:
    """How far the reference of a row comes from random actions (0) to the published expert (1).

    Returns:
        The share; None if nothing is published, or the reference was not measured under the same conditions.
    """
    if row.public is None or record["reference"] is None:
        return None
    if not row.public["changes"]:
        return row.of_public(record["reference"]["mean"], record["random"]["mean"])
    if (found := measured()["public"].get(row.name)) is None:
        return None
    return row.of_public(found["reference"]["mean"], found["random"], found["changes"])


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
        "episodes": min([random["episodes"], *([best.score["episodes"]] if best and best.score else [])]),
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
