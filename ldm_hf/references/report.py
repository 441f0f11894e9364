"""The report on the scores: how many references beat random, by domain and by method, and each of them."""

from __future__ import annotations

from collections.abc import Callable

from ..environments.library_folders import MeanReturn, ScoreRecord
from ..environments.specs import EnvironmentSpec, catalogue, families
from ..utils.tables import markdown_table
from .base import METHODS
from .scores import kind, of_public

Records = dict[str, ScoreRecord]


def markdown_report(scores: Records, command: str) -> str:
    """The tables of `reference_scores` in Markdown.

    Args:
        scores: score records by name; names that are not in the catalogue are left out.
        command: command line that made them.
    """
    rows = catalogue()
    known = {name: scores[name] for name in scores if name in rows}
    better = sum(record["beats_random"] for record in known.values())
    hours = sum(record["seconds"] for record in known.values()) / 3600
    episodes = sorted({record["episodes"] for record in known.values()})
    parts = [
        f"`{command}`",
        f"{better:,} of {len(known):,} environments tried have a reference whose mean return is above that of random "
        f"actions with both 95 % intervals apart; the catalogue has {len(rows):,}. {hours:.1f} hours of one process, "
        f"all attempts included. {episodes[0] if episodes else 0} to {episodes[-1] if episodes else 0} episodes a "
        "policy, on held-out seeds, as `ldm evaluate` measures. A constant action is a weak heuristic: it is counted "
        "separately.",
        markdown_table(*_summary(known, "domain", lambda name: rows[name].domain, list(rows.values()))),
        markdown_table(*_methods(known)),
        "Rows of one family differ in numbers of one world: gravity, size, cost, seed of a map, kind of reward.",
        _against_the_world(known),
        markdown_table(*_summary(known, "library", lambda name: rows[name].library, list(rows.values()))),
        "Every environment; ± is half of the 95 % interval, seconds are those of all attempts. Public: the best "
        "published score of an agent, and how far the reference comes from random actions to it under the same "
        "conditions:",
        markdown_table(*_environments(known)),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(
    known: Records, field: str, of: Callable[[str], str], rows: list[EnvironmentSpec]
) -> tuple[list[str], list[list[str]]]:
    header = [
        field,
        "environments",
        "families",
        "tried",
        "better than random",
        "of families",
        "of these constant",
        "minutes",
    ]
    names = [row.name for row in rows]
    lines = []
    for value in sorted({of(name) for name in names}, key=str.lower):
        members = [name for name in names if of(name) == value]
        lines.append(_counts(value, members, known))
    return header, [*lines, _counts("all", names, known)]


def _counts(title: str, members: list[str], known: Records) -> list[str]:
    tried = [name for name in members if name in known]
    better = [name for name in tried if known[name]["beats_random"]]
    constant = sum(kind(known[name]) == "constant" for name in better)
    minutes = sum(known[name]["seconds"] for name in tried) / 60
    counts = (len(members), families(members), len(tried), len(better), families(better), constant)
    return [title, *(f"{count:,}" for count in counts), f"{minutes:,.1f}"]


def _methods(known: Records) -> tuple[list[str], list[list[str]]]:
    header = ["method of the best policy", "environments", "better than random", "minutes of all attempts"]
    lines = []
    for method in (*METHODS, "constant", "gait", "None"):
        members = [record for record in known.values() if kind(record) == method]
        if members:
            better = sum(record["beats_random"] for record in members)
            title = "none: left for a larger budget" if method == "None" else method
            minutes = sum(record["seconds"] for record in members) / 60
            lines.append([title, f"{len(members):,}", f"{better:,}", f"{minutes:,.1f}"])
    return header, lines


def _environments(known: Records) -> tuple[list[str], list[list[str]]]:
    header = ["environment", "family", "random", "reference", "policy", "method", "better", "public", "of public"]
    header += ["attempts", "seconds"]
    lines = []
    for name, record in sorted(known.items(), key=lambda item: (catalogue()[item[0]].domain, item[0])):
        row = catalogue()[name]
        scores = row.family, _score(record["random"]), _score(record["reference"])
        public = "-" if row.public is None else f"{row.public['score']:.4g}"
        verdict = "yes" if record["beats_random"] else "no"
        attempts = str(len(record["attempts"]))
        method = kind(record) if record["policy"] else "-"
        cells = [name, *scores, record["policy"] or "-", method, verdict, public, _share(of_public(row, record))]
        lines.append([*cells, attempts, f"{record['seconds']:.0f}"])
    return header, lines


def _against_the_world(known: Records) -> str:
    """How many references come how far to the best published scores."""
    rows = [row for row in catalogue().values() if row.public is not None]
    shares = [share for row in rows if row.name in known and (share := of_public(row, known[row.name])) is not None]
    reached = ", ".join(f"{sum(share >= part for share in shares)} at {part:.0%} or more" for part in (0.5, 0.8, 0.95))
    return (
        f"{len(rows):,} rows have a published score of an agent. {len(shares):,} of them have a reference that was "
        f"measured under the same conditions, time limit included; of the way from random actions to the published "
        f"expert, {reached}."
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _score(score: MeanReturn | None) -> str:
    return "-" if score is None else f"{score['mean']:.4g} ± {score['ci']:.2g}"
