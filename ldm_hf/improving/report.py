"""What a person reads of an improvement: a table after each round, and a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ..evaluation.scores import EnvironmentResult, Results, family_scores
from ..rollouts.returns import BAR
from ..utils.figures import png_figure
from ..utils.files import read_json
from .journal import Journal, Round

Entries = Mapping[str, EnvironmentResult]


def round_rows(before: Results, after: Results) -> tuple[list[str], list[list[str]]]:
    """The best model so far beside the new one: a row per domain and one for all.

    Args:
        before: results of the best model so far.
        after: results of the new one.

    Returns:
        Header and rows: environments and families at 80 % of the reference, environments won and lost, and the mean of
        the scores, cut off below 0 and above 1.
    """
    header = ["domain", "environments", "≥ 80 %", "won", "lost", "families ≥ 80 %", "mean, capped"]
    names = [name for name in before["environments"] if name in after["environments"]]
    domains: dict[str, list[str]] = {}
    for name in names:
        domains.setdefault(after["environments"][name]["domain"], []).append(name)
    parts = [*sorted(domains.items()), ("all", names)]
    return header, [[domain, *_cells(before["environments"], after["environments"], part)] for domain, part in parts]


def _cells(before: Entries, after: Entries, names: list[str]) -> list[str]:
    old, new = ({name: entries[name] for name in names} for entries in (before, after))
    had, has = _at_bar(old), _at_bar(new)
    return [
        str(len(names)),
        f"{len(had)} → {len(has)}",
        str(len(has - had)),
        str(len(had - has)),
        f"{_families_at_bar(old)} → {_families_at_bar(new)}",
        f"{_capped(old):.1%} → {_capped(new):.1%}",
    ]


def _at_bar(entries: Entries) -> set[str]:
    return {name for name, entry in entries.items() if entry["normalised"] >= BAR}


def _families_at_bar(entries: Entries) -> int:
    return sum(score >= BAR for score in family_scores(entries).values())


def _capped(entries: Entries) -> float:
    scores = [entry["normalised"] for entry in entries.values()]
    return float(np.clip(scores, 0, 1).mean()) if scores else 0.0


def print_round(one: Round, journal: Journal, console: Console | None = None) -> None:
    """Prints a round: its table, what was won and lost by name, what was kept and why, and the minutes spent.

    Args:
        one: the round, which has ended.
        journal: the journal that it is in.
        console: where to print.
    """
    console = console or Console()
    number = one["number"]
    spent = ", ".join(f"{stage} {minutes:.1f}" for stage, minutes in one["minutes"].items())
    if number == 0:
        console.print(
            f"start: {one['at_80'][1]} of {one['environments']} environments and {one['families_at_80'][1]} families "
            f"at 80 % of the reference, mean {one['capped'][1]:.1%}; minutes: {spent}",
            highlight=False,
        )
        return
    former = max(before["number"] for before in journal.rounds[:number] if before["kept"])
    before, after = (read_json(journal.results_of(index)) for index in (former, number))
    header, rows = round_rows(before, after)
    table = Table(title=f"Round {number}: {'kept' if one['kept'] else 'not kept'} ({one['why']})")
    for index, column in enumerate(header):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for word, names in (("won", one["won"]), ("lost", one["lost"])):
        marked = [f"{name} (beyond noise)" if name in one["lost_beyond_noise"] else name for name in names]
        console.print(f"{word}: {', '.join(marked) or 'none'}", highlight=False)
    for message in one.get("failures", {}).values():
        console.print(f"not collected: {message}", style="red", markup=False, highlight=False)
    done = f"{one['collected']:,} steps in {len(one['picked'])} environments, {one['trained']:,} updates"
    console.print(f"{done}; minutes: {spent}", highlight=False)


def draw_curve(rounds: Sequence[Round], path: str | Path) -> None:
    """Draws environments at 80 % of the reference and the mean capped score by round, as a PNG.

    Args:
        rounds: rounds; those that have not ended are left out.
        path: PNG file to write.

    Raises:
        MissingExtraError: without matplotlib.
    """
    done = [one for one in rounds if "kept" in one]
    with png_figure(path, (7.2, 3.4)) as figure:
        left, right = figure.subplots(1, 2)
        numbers = [one["number"] for one in done]
        counts: list[Sequence[float]] = [one["at_80"] for one in done]
        scores: list[Sequence[float]] = [one["capped"] for one in done]
        for axes, label, values in (
            (left, f"environments at 80 %, of {done[-1]['environments']}", counts),
            (right, "mean score, cut off at 0 and 1", scores),
        ):
            best = [pair[1] if one["kept"] else pair[0] for one, pair in zip(done, values, strict=True)]
            axes.step(numbers, best, where="post", label="best so far")
            axes.plot(numbers, [pair[1] for pair in values], "o", label="after this round")
            axes.set(xlabel="round", ylabel=label)
            axes.locator_params("x", integer=True)
            axes.margins(0.1)
            axes.spines[["top", "right"]].set_visible(False)
        left.locator_params("y", integer=True)
        right.legend(frameon=False, loc="lower right")
