"""``ldm reference``: finds, trains and measures reference policies."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LDMError
from .options import Domain, Ids, Jobs, Library, console, exit_with

if TYPE_CHECKING:
    from ..references.records import Record

# Seconds beyond twice the budget after which an environment is taken to hang: an attempt that has begun is finished.
GRACE = 600.0
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """A duration such as ``90``, ``90s``, ``30m`` or ``2h`` in seconds.

    Raises:
        LDMError: if the text is not a duration.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match:
        raise LDMError(f"--budget {text!r} is no time; give seconds, or a number with s, m or h, such as 30m")
    return float(match[1]) * UNITS[match[2]]


def reference_command(
    ids: Ids = None,
    domain: Domain = None,
    library: Library = None,
    everything: Annotated[bool, typer.Option("--all", help="Search in the whole catalogue.")] = False,
    budget: Annotated[str, typer.Option(help="Time limit for each environment, such as 90s, 30m or 2h.")] = "30m",
    references: Annotated[Path, typer.Option(help="Folder for policies and records of attempts.")] = Path(
        "outputs/references"
    ),
    save: Annotated[
        bool, typer.Option("--save", help="Also record the scores in the package, in the folders of the libraries.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Markdown file of scores: of all environments with --save, otherwise of those of this run."),
    ] = None,
    jobs: Jobs = 2,
    seed: Annotated[int, typer.Option(help="Seed for policies that are trained.")] = 0,
    tune: Annotated[
        bool, typer.Option("--tune", help="Search for the parameters of scripted policies that have some.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Discard earlier attempts and start again.")] = False,
) -> None:
    """Finds a reference policy for each environment: tries candidates from cheap to costly and keeps the best.

    Finished work is not repeated; an interrupted run continues where it stopped.
    """
    from ..environments.specs import select
    from ..references.finding import find_references
    from ..references.report import kind, markdown_report
    from ..references.scores import entry, reference_scores, save_scores
    from ..utils.files import check_writable, write_atomically

    if not (everything or ids or domain or library):
        raise LDMError("no environment: choose by --ids, --domain or --library, or say --all")
    allowed = seconds(budget)
    found: list[Record] = []

    def keep(record: Record) -> None:
        found.append(record)
        if save:
            save_scores([record])

    rows = select(ids, domain, library)
    for output in (report, references / "attempts.json"):
        if output:
            check_writable(output)
    failures = find_references(rows, references, allowed, jobs, seed, force, 2 * allowed + GRACE, keep, tune)
    for record in found:
        scores = entry(record)
        verdict = "better than random" if record.beats_random else "not better than random"
        console.print(f"{record.name}: {kind(scores)} {scores['reference']}, random {scores['random']}: {verdict}")
    if report:
        known = reference_scores() if save else {record.name: entry(record) for record in found}
        write_atomically(report, markdown_report(known, " ".join(["ldm", *sys.argv[1:]])))
    exit_with(failures)
