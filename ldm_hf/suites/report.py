"""What a person reads of a suite: a row for each domain and model, and one for each task."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ..utils.tables import markdown_table
from .scores import THRESHOLDS, Counts, SuiteResults, TaskResult, normalised
from .tables import Suite, load_suite

TableRows = tuple[list[str], list[list[str]]]


def summary_rows(suite: Suite, results: SuiteResults) -> TableRows:
    """Counts and mean scores by domain: those of the player, and beside them those of the other models."""
    summary = results["summary"]
    header = ["domain", "tasks", "tried", *(f"≥ {threshold} %" for threshold in THRESHOLDS), "mean", "mean, capped"]
    for model in suite.others:
        header += [f"{model} ≥ 80 %", f"{model} mean", f"{model} capped"]
    tried = [task["domain"] for task in results["tasks"].values() if task["score"] is not None]
    rows = []
    for domain, found in [*summary["by_domain"].items(), ("all", summary)]:
        number = len(tried) if domain == "all" else tried.count(domain)
        cells = [str(found["at_least_50"]), str(found["at_least_80"]), str(found["at_least_95"]), *_means(found)]
        for other in summary["others"].values():
            theirs = other if domain == "all" else other["by_domain"].get(domain)
            cells += ["-", "-", "-"] if theirs is None else [str(theirs["at_least_80"]), *_means(theirs)]
        rows.append([domain, str(found["n"]), str(number), *cells])
    return header, rows


def _means(found: Counts) -> list[str]:
    return ["-" if mean is None else f"{mean:.3f}" for mean in (found["mean"], found["mean_capped"])]


def task_rows(suite: Suite, results: SuiteResults) -> TableRows:
    """Returns and normalised scores of every task."""
    header = ["task", "domain", "steps", "random", "expert", "score", "normalised", "episodes", *suite.others]
    rows = []
    for name, task in results["tasks"].items():
        horizon = suite.tasks[name].horizon
        cells = [name, task["domain"], "own" if horizon is None else f"{horizon:,}"]
        cells += [_number(task["random"]), _number(task["expert"]), _number(task["score"])]
        cells += ["0" if task["score"] is None else f"{task['normalised']:.3f}", str(task["episodes"])]
        rows.append([*cells, *(_other(task, model) for model in suite.others)])
    return header, rows


def _other(task: TaskResult, model: str) -> str:
    if model not in task["others"] or task["random"] is None:
        return "-"
    return f"{normalised(task['others'][model], task['random'], task['expert']):.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def print_report(results: SuiteResults, console: Console | None = None) -> None:
    """Prints the summary beside the published numbers."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, 160)  # a file has no edge to keep within
    suite = load_suite(results["suite"])
    header, rows = summary_rows(suite, results)
    table = Table(title=f"{suite.title}: {results['who']}; 0 random actions, 1 the published expert")
    for index, column in enumerate(header):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def markdown_report(results: SuiteResults) -> str:
    """Both tables in Markdown, with the command that made them and the sources of the published numbers."""
    suite, summary = load_suite(results["suite"]), results["summary"]
    others = "".join(f" `{name}`: {text}." for name, text in suite.others.items())
    failed = [f"{name}: {task['error']}" for name, task in results["tasks"].items() if "error" in task]
    parts = [
        f"# {suite.title}: {results['who']}",
        f"`{results['command']}`",
        f"{suite.about} Published numbers: {suite.source}.{others}",
        f"0 is random actions, 1 the published expert. {summary['tried']} of {summary['n']} tasks were tried, of "
        f"{summary['families']} families; all others count as 0. Capped: a score above 1 counts as 1.",
        markdown_table(*summary_rows(suite, results)),
        markdown_table(*task_rows(suite, results)),
        *(f"Failed: {message}" for message in failed),
    ]
    return "\n\n".join(parts) + "\n"
