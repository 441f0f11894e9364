"""What a person reads of the results: tables and the threshold curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from ..environments.specs import catalogue
from ..utils.figures import png_figure
from ..utils.tables import markdown_table
from .scores import THRESHOLDS, EnvironmentResult, Results, Summary, family_scores, is_matched, summarise

TableRows = tuple[list[str], list[list[str]]]
"""Header and rows of a table."""
SCORES: tuple[Literal["normalised", "normalised_history_only"], ...] = ("normalised", "normalised_history_only")
LABELS = {"normalised": "with task text", "normalised_history_only": "history only"}


def environment_rows(results: Results, best_first: bool = False) -> TableRows:
    """Mean returns and scores (of the reference with the task text, from history alone, of the published expert), and
    whether the model is not below the reference: a row per environment, by domain or score."""
    header = ["environment", "domain", "random", "reference", "LDM", "score", "history only", "matched", "of public"]
    entries = sorted(results["environments"].items(), key=lambda item: (item[1]["domain"], item[0]))
    if best_first:
        entries.sort(key=lambda item: item[1]["normalised"], reverse=True)
    rows = []
    for name, entry in entries:
        returns = [_number(measured["mean"]) for measured in (entry["random"], entry["reference"], entry["ldm"])]
        scores = [_score(entry[score]) for score in SCORES]
        matched = "yes" if is_matched(entry["ldm"], entry["reference"]) else "no"
        rows.append([name, entry["domain"], *returns, *scores, matched, _score(of_public(name, entry))])
    return header, rows


def domain_rows(results: Results) -> TableRows:
    """Environments at 50, 80 and 100 % of the reference, those that match it, families at 80 %, interquartile means,
    and environments at 80 % of the published expert: a row per domain and one for all."""
    header = ["domain", "environments", *(f"≥ {threshold} %" for threshold in THRESHOLDS), "matched"]
    header += ["families", "families ≥ 80 %", "IQM", "95 % interval", "≥ 80 % of public"]
    rows, everything = [], results["environments"]
    for domain in sorted({entry["domain"] for entry in everything.values()}):
        members = {name: entry for name, entry in everything.items() if entry["domain"] == domain}
        rows.append([domain, *_summary_cells(summarise(members), members)])
    return header, [*rows, ["all", *_summary_cells(results["summary"], everything)]]


def of_public(name: str, entry: EnvironmentResult) -> float | None:
    """How far the model comes from random actions (0) to the published expert (1).

    Returns:
        The share; None if nothing is published for the row, or only for other conditions, such as another time limit.
    """
    row = catalogue().get(name)
    return None if row is None else row.of_public(entry["ldm"]["mean"], entry["random"]["mean"])


def print_report(results: Results, console: Console | None = None, best_first: bool = False) -> None:
    """Prints both tables, environments by domain or the best ones first, and the environments that failed."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a file has no edge to keep within
    for title, (header, rows) in _tables(results, best_first):
        table = Table(title=title)
        for index, column in enumerate(header):
            table.add_column(column, justify="left" if index < 1 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for message in results.get("failures", {}).values():
        console.print(f"failed: {message}", style="red", markup=False, highlight=False)


def markdown_report(results: Results) -> str:
    """Both tables in Markdown, with the command that made them."""
    parts = [f"`{results['command']}`"]
    for title, (header, rows) in _tables(results):
        parts.append(f"{title}:\n\n{markdown_table(header, rows)}")
    parts += [f"Failed: {message}" for message in results.get("failures", {}).values()]
    return "\n\n".join(parts) + "\n"


def _tables(results: Results, best_first: bool = False) -> list[tuple[str, TableRows]]:
    """Both tables with their titles."""
    if not results["environments"]:
        return []
    return [
        ("Mean return per episode; score: 0 % random, 100 % reference", environment_rows(results, best_first)),
        (
            "Environments at or above a fraction of the reference (from history alone in brackets)",
            domain_rows(results),
        ),
    ]


def threshold_curve(results: Results, path: str | Path) -> None:
    """Draws how many environments and families are at or above each fraction of the reference, as a PNG.

    Args:
        results: Results of `evaluate`.
        path: PNG file to write; its folder is made.

    Raises:
        MissingExtraError: without matplotlib.
    """
    entries = results["environments"].values()
    families = np.array(list(family_scores(results["environments"]).values()))
    thresholds = np.linspace(0, 1.2, 481)
    with png_figure(path, (6.4, 4)) as figure:
        axes = figure.add_subplot()
        for score, style in zip(SCORES, ("-", "--"), strict=True):
            scores = np.array([entry[score] for entry in entries])
            at_least = (scores[:, None] >= thresholds).sum(axis=0)
            axes.plot(100 * thresholds, at_least, style, drawstyle="steps-pre", label=LABELS[score])
        beside = axes.twinx()  # so that equal heights are equal shares
        of_families = (families[:, None] >= thresholds).sum(axis=0)
        beside.plot(100 * thresholds, of_families, "C2-.", drawstyle="steps-pre")
        axes.plot([], [], "C2-.", label="families, with task text (right axis)")
        for threshold in THRESHOLDS:
            axes.axvline(threshold, color="0.8", linewidth=0.8, zorder=0)
        axes.set(
            xlabel="normalised score (0 %: random, 100 %: reference)",
            ylabel=f"environments at or above, of {len(entries)}",
            xlim=(0, 120),
            ylim=(0, 1.05 * max(len(entries), 1)),
        )
        axes.xaxis.set_major_formatter("{x:.0f} %")
        axes.locator_params("y", integer=True)
        axes.legend(frameon=False, loc="lower left")
        beside.set(ylabel=f"families at or above, of {len(families)}", ylim=(0, 1.05 * max(len(families), 1)))
        beside.locator_params("y", integer=True)
        for sides in (axes, beside):
            sides.spines["top"].set_visible(False)


def _summary_cells(summary: Summary, members: Mapping[str, EnvironmentResult]) -> list[str]:
    values: Mapping[str, object] = summary

    def pair(key: str, show: Callable[..., str]) -> str:
        return f"{show(values[key])} ({show(values[f'{key}_history_only'])})"

    counts = [pair(f"at_least_{threshold}", str) for threshold in THRESHOLDS]
    shares = [share for name, entry in members.items() if (share := of_public(name, entry)) is not None]
    public = f"{sum(share >= 0.8 for share in shares)} of {len(shares)}" if shares else "-"
    if "matched" not in values:  # of older results
        values = summarise(dict(members), intervals=False)
    ours = (str(values[key]) for key in ("matched", "families", "families_at_least_80"))
    numbers = [str(summary["n"]), *counts, *ours]
    return [*numbers, pair("iqm", _score), pair("iqm_ci", _interval), public]


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _interval(ends: list[float] | None) -> str:
    return "-" if ends is None else f"{100 * ends[0]:.0f}–{100 * ends[1]:.0f} %"
