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

GRACE = (
    600.0  # seconds beyond twice the budget after which an environment is thought to hang: what was begun is finished
)
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """``90``, ``90s``, ``30m`` or ``2h`` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match:
        raise LDMError(f"--budget {text!r} is no time; give seconds, or a number with s, m or h, such as 30m")
    return float(match[1]) * UNITS[match[2]]


def reference_command(
    ids: Ids = None,
    domain: Domain = None,
    library: Library = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole catalogue.")] = False,
    budget: Annotated[str, typer.Option(help="Time for each environment: 30m, 90s, 2h.")] = "30m",
    references: Annotated[Path, typer.Option(help="Folder of policies and of the records of what was tried.")] = Path(
        "outputs/references"
    ),
    save: Annotated[
        bool, typer.Option("--save", help="Record the scores in the folders of the libraries, for the whole package.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="Markdown file for the scores: with --save of all environments, else of those of this run."),
    ] = None,
    jobs: Jobs = 2,
    seed: int = 0,
    force: Annotated[bool, typer.Option(help="Try again what was tried already.")] = False,
) -> None:
    """Finds a reference policy for each environment: tries what fits in order of cost, measures it, keeps the best.

    What is finished is not done again; interrupted, it goes on where it was.
    """
    from ..environments.specs import select
    from ..references.finding import find_references
    from ..references.report import kind, markdown_report
    from ..references.scores import entry, reference_scores, save_scores

    if not (everything or ids or domain or library):
        raise LDMError("no environment: choose by --ids, --domain or --library, or say --all")
    allowed = seconds(budget)
    found: list[Record] = []

    def keep(record: Record) -> None:
        found.append(record)
        if save:
            save_scores([record])

    rows = select(ids, domain, library)
    failures = find_references(rows, references, allowed, jobs, seed, force, 2 * allowed + GRACE, keep)
    for record in found:
        told = entry(record)
        verdict = "better than random" if record.beats_random else "not better than random"
        console.print(f"{record.name}: {kind(told)} {told['reference']}, random {told['random']}: {verdict}")
    if report:
        report.parent.mkdir(parents=True, exist_ok=True)
        known = reference_scores() if save else {record.name: entry(record) for record in found}
        report.write_text(markdown_report(known, " ".join(["ldm", *sys.argv[1:]])), encoding="utf-8")
    exit_with(failures)
