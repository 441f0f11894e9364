"""The results of a suite, and their summary: every task counts, also one that was not tried."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from .tables import Suite

THRESHOLDS = (50, 80, 95)
"""Per cent of the expert at which tasks are counted."""


class TaskResult(TypedDict):
    """How one task went.

    Attributes:
        domain: domain of the suite.
        score: mean return; None if the task was not tried, or failed.
        random: mean return that counts as 0; None if it is not known.
        expert: mean return that counts as 1.
        normalised: ``(score - random) / (expert - random)``; 0 if there is no score.
        others: published mean returns of other models.
        episodes: number of episodes; 0 if there is no score.
        ci: half of the 95 % interval of ``score``.
        seed: seed of the first episode.
        policy: `name` of the reference.
        kwargs: parameters of the reference.
        row: fingerprint of the row at the suite's conditions.
        error: why it failed.
    """

    domain: str
    score: float | None
    random: float | None
    expert: float
    normalised: float
    others: dict[str, float]
    episodes: int
    ci: NotRequired[float]
    seed: NotRequired[int]
    policy: NotRequired[str]
    kwargs: NotRequired[dict[str, Any]]
    row: NotRequired[str]
    error: NotRequired[str]


class Counts(TypedDict):
    """Tasks of a group, and how many of them are at a fraction of the expert.

    Attributes:
        n: number of tasks.
        mean: mean of the normalised scores, as JAT reports it; None without tasks.
        mean_capped: the same, where a score above 1 counts as 1: a task whose expert is close to random actions has
            scores of any size, and can outweigh all others.
        at_least_50: number of tasks at 50 % of the expert or more.
        at_least_80: number of tasks at 80 % of the expert or more.
        at_least_95: number of tasks at 95 % of the expert or more.
    """

    n: int
    mean: float | None
    mean_capped: float | None
    at_least_50: int
    at_least_80: int
    at_least_95: int


class GroupSummary(Counts):
    """`Counts` of all tasks, and of each domain.

    Attributes:
        by_domain: counts by domain.
    """

    by_domain: dict[str, Counts]


class SuiteSummary(GroupSummary):
    """`GroupSummary`, and that of the other models.

    Attributes:
        tried: number of tasks with a score.
        families: number of families that the tasks with a score belong to.
        others: summary of each other model over the tasks that it has published.
    """

    tried: int
    families: int
    others: dict[str, GroupSummary]


class SuiteResults(TypedDict):
    """What `evaluate_suite` writes.

    Attributes:
        suite: name of the suite.
        who: who played: ``references``, or the name of a model.
        command: command line that wrote the file last.
        measured: fingerprint of the model and what else decides its scores; empty for references.
        tasks: results of all tasks of the suite, by name.
        summary: their summary.
    """

    suite: str
    who: str
    command: str
    measured: dict[str, object]
    tasks: dict[str, TaskResult]
    summary: SuiteSummary


def normalised(score: float, random: float, expert: float) -> float:
    """``(score - random) / (expert - random)``, as JAT computes it; also where the expert is below random actions."""
    return (score - random) / (expert - random)


def counts(scores: list[float]) -> Counts:
    """The counts of a group of normalised scores."""
    fifty, eighty, ninety_five = (sum(score >= threshold / 100 for score in scores) for threshold in THRESHOLDS)
    return {
        "n": len(scores),
        "mean": sum(scores) / len(scores) if scores else None,
        "mean_capped": sum(min(score, 1.0) for score in scores) / len(scores) if scores else None,
        "at_least_50": fifty,
        "at_least_80": eighty,
        "at_least_95": ninety_five,
    }


def summarise(suite: Suite, tasks: dict[str, TaskResult]) -> SuiteSummary:
    """The summary of the results of all tasks of a suite."""
    tried = [name for name, task in tasks.items() if task["score"] is not None]
    others = {
        model: {
            name: normalised(task["others"][model], task["random"], task["expert"])
            for name, task in tasks.items()
            if model in task["others"] and task["random"] is not None
        }
        for model in suite.others
    }
    return {
        **_group(suite, {name: task["normalised"] for name, task in tasks.items()}),
        "tried": len(tried),
        "families": len({suite.tasks[name].spec.family for name in tried}),
        "others": {model: _group(suite, scores) for model, scores in others.items()},
    }


def _group(suite: Suite, scores: dict[str, float]) -> GroupSummary:
    by_domain: dict[str, list[float]] = {}
    for name, score in scores.items():
        by_domain.setdefault(suite.tasks[name].domain, []).append(score)
    return {
        **counts(list(scores.values())),
        "by_domain": {domain: counts(members) for domain, members in sorted(by_domain.items())},
    }
