"""What a person reads of the scores: how many references beat random, by domain and method, and each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..environments.specs import EnvironmentSpec, catalogue
from ..utils.tables import markdown_table
from .base import METHODS

Scores = dict[str, dict[str, Any]]


def markdown_report(scores: Scores, command: str) -> str:
    """The tables of `reference_scores` in Markdown.

    Args:
        scores: by name; names that are not in the catalogue are left out.
        command: that made them.
    """
    rows = catalogue()
    known = {name: scores[name] for name in scores if name in rows}
    better = sum(told["beats_random"] for told in known.values())
    hours = sum(told["seconds"] for told in known.values()) / 3600
    episodes = sorted({told["episodes"] for told in known.values()})
    parts = [
        f"`{command}`",
        f"{better:,} of {len(known):,} environments tried have a reference whose mean return is above that of random actions with both 95 % "
        f"intervals apart; the catalogue has {len(rows):,}. {hours:.1f} hours of one process, all attempts included. "
        f"{episodes[0] if episodes else 0} to {episodes[-1] if episodes else 0} episodes a policy, on held-out seeds, as `ldm evaluate` measures. "
        "A constant action is a heuristic, and a weak one: it is counted apart.",
        markdown_table(*_summary(known, "domain", lambda name: rows[name].domain, list(rows.values()))),
        markdown_table(*_methods(known)),
        markdown_table(*_summary(known, "library", lambda name: rows[name].library, list(rows.values()))),
        "Every environment; ± is half of the 95 % interval, seconds are those of all attempts:",
        markdown_table(*_environments(known)),
    ]
    return "\n\n".join(parts) + "\n"


def kind(told: dict[str, Any]) -> str:
    """The method, with constant actions told apart."""
    return "constant" if told["policy"] == "constant" else str(told["method"])


def _summary(
    known: Scores, field: str, of: Callable[[str], str], rows: list[EnvironmentSpec]
) -> tuple[list[str], list[list[str]]]:
    header = [field, "environments", "tried", "better than random", "of these constant", "minutes"]
    names = [row.name for row in rows]
    lines = []
    for value in sorted({of(name) for name in names}, key=str.lower):
        members = [name for name in names if of(name) == value]
        lines.append(_counts(value, members, known))
    return header, [*lines, _counts("all", names, known)]


def _counts(title: str, members: list[str], known: Scores) -> list[str]:
    tried = [known[name] for name in members if name in known]
    better = [told for told in tried if told["beats_random"]]
    constant = sum(kind(told) == "constant" for told in better)
    minutes = sum(told["seconds"] for told in tried) / 60
    return [title, *(f"{count:,}" for count in (len(members), len(tried), len(better), constant)), f"{minutes:,.1f}"]


def _methods(known: Scores) -> tuple[list[str], list[list[str]]]:
    header = ["method of the best policy", "environments", "better than random", "minutes of all attempts"]
    lines = []
    for method in (*METHODS, "constant", "None"):
        members = [told for told in known.values() if kind(told) == method]
        if members:
            better = sum(told["beats_random"] for told in members)
            title = "none: left for a larger budget" if method == "None" else method
            minutes = sum(told["seconds"] for told in members) / 60
            lines.append([title, f"{len(members):,}", f"{better:,}", f"{minutes:,.1f}"])
    return header, lines


def _environments(known: Scores) -> tuple[list[str], list[list[str]]]:
    header = ["environment", "random", "reference", "policy", "method", "better", "attempts", "seconds"]
    lines = []
    for name, told in sorted(known.items(), key=lambda item: (catalogue()[item[0]].domain, item[0])):
        scores = (_score(told[which]) for which in ("random", "reference"))
        verdict = "yes" if told["beats_random"] else "no"
        attempts = str(len(told["attempts"]))
        method = kind(told) if told["policy"] else "-"
        lines.append([name, *scores, told["policy"] or "-", method, verdict, attempts, f"{told['seconds']:.0f}"])
    return header, lines


def _score(score: dict[str, float] | None) -> str:
    return "-" if score is None else f"{score['mean']:.4g} ± {score['ci']:.2g}"
