"""What a person reads of the results: tables and the threshold curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..errors import MissingExtraError
from .scores import THRESHOLDS, VARIANTS, summarise

LABELS = {"": "with task text", "_history_only": "history only"}


def environment_rows(results: dict[str, Any], best_first: bool = False) -> tuple[list[str], list[list[str]]]:
    """Header and one row per environment, by domain or by score: mean returns, normalised scores with the task text and from history alone."""
    header = ["environment", "domain", "random", "reference", "LDM", "score", "history only"]
    rows = []
    entries = sorted(results["environments"].items(), key=lambda item: (item[1]["domain"], item[0]))
    if best_first:
        entries.sort(key=lambda item: item[1]["normalised"], reverse=True)
    for name, entry in entries:
        returns = [_number(entry[policy]["mean"]) for policy in ("random", "reference", "ldm")]
        rows.append(
            [name, entry["domain"], *returns, *(_score(entry[f"normalised{variant}"]) for variant in VARIANTS)]
        )
    return header, rows


def domain_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header, one row per domain and one for all: environments at 50, 80 and 100 % of the reference, interquartile mean."""
    header = ["domain", "environments", *(f"≥ {threshold} %" for threshold in THRESHOLDS), "IQM", "95 % interval"]
    rows = []
    for domain in sorted({entry["domain"] for entry in results["environments"].values()}):
        members = {name: entry for name, entry in results["environments"].items() if entry["domain"] == domain}
        rows.append([domain, *_summary_cells(summarise(members))])
    return header, [*rows, ["all", *_summary_cells(results["summary"])]]


def print_report(results: dict[str, Any], console: Console | None = None, best_first: bool = False) -> None:
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


def markdown_report(results: dict[str, Any]) -> str:
    """Both tables in Markdown, with the command that made them."""
    parts = [f"`{results['command']}`"]
    for title, (header, rows) in _tables(results):
        parts.append(f"{title}:\n\n{markdown_table(header, rows)}")
    parts += [f"Failed: {message}" for message in results.get("failures", {}).values()]
    return "\n\n".join(parts) + "\n"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """The first column to the left, all others to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tables(results: dict[str, Any], best_first: bool = False) -> list[tuple[str, tuple[list[str], list[list[str]]]]]:
    if not results["environments"]:
        return []
    return [
        ("Mean return per episode; score: 0 % random, 100 % reference", environment_rows(results, best_first)),
        (
            "Environments at or above a fraction of the reference (from history alone in brackets)",
            domain_rows(results),
        ),
    ]


def threshold_curve(results: dict[str, Any], path: str | Path) -> None:
    """Draws how many environments are at or above each fraction of the reference, as a PNG.

    Args:
        results: of `evaluate`.
        path: of the PNG; its folder is made.

    Raises:
        MissingExtraError: without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="eval") from error
    entries = results["environments"].values()
    thresholds = np.linspace(0, 1.2, 481)
    figure = Figure(figsize=(6.4, 4), layout="constrained")  # not pyplot: no state and no display
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for variant, style in zip(VARIANTS, ("-", "--"), strict=True):
        scores = np.array([entry[f"normalised{variant}"] for entry in entries])
        at_least = (scores[:, None] >= thresholds).sum(axis=0)
        axes.plot(100 * thresholds, at_least, style, drawstyle="steps-pre", label=LABELS[variant])
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
    axes.spines[["top", "right"]].set_visible(False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, format="png")


def _summary_cells(summary: dict[str, Any]) -> list[str]:
    def pair(key: str, show: Any) -> str:
        return f"{show(summary[key])} ({show(summary[f'{key}_history_only'])})"

    counts = [pair(f"at_least_{threshold}", str) for threshold in THRESHOLDS]
    return [str(summary["n"]), *counts, pair("iqm", _score), pair("iqm_ci", _interval)]


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _interval(ends: list[float] | None) -> str:
    return "-" if ends is None else f"{100 * ends[0]:.0f}–{100 * ends[1]:.0f} %"
