"""What a person reads of `ldm envs check`: how many environments work, by library and domain, and what is wrong with the others."""

from __future__ import annotations

from statistics import median
from typing import Any

from .checking import MISSING, WORKS


def summary_rows(results: dict[str, Any], field: str) -> tuple[list[str], list[list[str]]]:
    """Header, one row for each value of ``field`` (``library`` or ``domain``), one for all: how many there are and work, their speed.

    Args:
        results: of `checking.check`.
        field: of its entries.
    """
    header = [field, "environments", "work", "do not", "not installed", "median steps/s", "slowest"]
    entries = list(results["environments"].values())
    groups = {
        value: [e for e in entries if e[field] == value]
        for value in sorted({e[field] for e in entries}, key=str.lower)
    }
    return header, [_summary(name, members) for name, members in [*groups.items(), ("all", entries)]]


def _summary(name: str, entries: list[dict[str, Any]]) -> list[str]:
    verdicts = [entry["verdict"] for entry in entries]
    works, missing = verdicts.count(WORKS), verdicts.count(MISSING)
    speeds = [entry["steps_per_second"] for entry in entries if entry["verdict"] == WORKS]
    shown = [f"{median(speeds):,.0f}", f"{min(speeds):,.0f}"] if speeds else ["-", "-"]
    return [name, *(f"{count:,}" for count in (len(entries), works, len(entries) - works - missing, missing)), *shown]


def flaws(results: dict[str, Any]) -> list[list[str]]:
    """``[name, verdict, reason]`` of what is installed and does not work."""
    return [
        [name, entry["verdict"], entry["reason"]]
        for name, entry in results["environments"].items()
        if entry["verdict"] not in (WORKS, MISSING)
    ]


def markdown_report(results: dict[str, Any]) -> str:
    """The tables by domain and library and the list of flaws, with the command that made them."""
    made_with = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    parts = [
        f"`{results['command']}`",
        "An environment works if it can be made, resets and takes 50 random steps with observations inside its space and finite rewards, and repeats "
        "them from the same seed. Speed is that of one environment with random actions, resets included, on whatever else the machine was doing: a "
        f"lower bound. {made_with}.",
    ]
    for field in ("domain", "library"):
        header, rows = summary_rows(results, field)
        parts.append(_table(header, rows, right=True))
    if wrong := flaws(results):
        parts.append("What does not work:\n\n" + _table(["environment", "verdict", "reason"], wrong))
    return "\n\n".join(parts) + "\n"


def _table(header: list[str], rows: list[list[str]], right: bool = False) -> str:
    ruler = ["---"] + ["---:" if right else "---"] * (len(header) - 1)
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ruler, *cells])
