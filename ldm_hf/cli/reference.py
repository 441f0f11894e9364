"""``ldm reference``: finds, trains and measures reference policies."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import LDMError
from .options import Address, Domain, Ids, Jobs, Library, RunOn, Where, console, executor_of, exit_with

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
    executor: RunOn = Where.LOCAL,
    address: Address = None,
    seed: Annotated[int, typer.Option(help="Seed for policies that are trained.")] = 0,
    tune: Annotated[
        bool, typer.Option("--tune", help="Search for the parameters of scripted policies that have some.")
    ] = False,
    algorithm: Annotated[
        str | None,
        typer.Option(
            help="Learn by this alone: ars, ppo, sac or tqc, which compete by default; distilled; or in JAX "
            "sbx-crossq, sbx-sac or sbx-tqc."
        ),
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="Mean return that is enough to learn; by default the library's threshold.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Discard earlier attempts and start again.")] = False,
    listing: Annotated[
        bool, typer.Option("--list", help="Search nothing: list the references that are recorded in the package.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: print a JSON array.")] = False,
) -> None:
    """Finds a reference policy for each environment: tries candidates from cheap to costly and keeps the best.

    Finished work is not repeated; an interrupted run continues where it stopped.
    """
    if listing:
        _list(ids, domain, library, as_json)
        return
    if as_json:
        raise LDMError("--json goes with --list")
    from ..environments.specs import select
    from ..references.finding import find_references
    from ..references.report import markdown_report
    from ..references.scores import entry, kind, reference_scores, save_scores
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
    learning = {key: value for key, value in (("algorithm", algorithm), ("target", target)) if value is not None}
    run, limit = executor_of(executor, address), 2 * allowed + GRACE
    failures = find_references(rows, references, allowed, jobs, seed, force, limit, keep, tune, learning, run)
    for record in found:
        scores = entry(record)
        verdict = "better than random" if record.beats_random else "not better than random"
        console.print(f"{record.name}: {kind(scores)} {scores['reference']}, random {scores['random']}: {verdict}")
    if report:
        known = reference_scores() if save else {record.name: entry(record) for record in found}
        write_atomically(report, markdown_report(known, " ".join(["ldm", *sys.argv[1:]])))
    exit_with(failures)


def _list(ids: list[str] | None, domain: str | None, library: str | None, as_json: bool) -> None:
    """Prints the recorded references of the chosen rows."""
    from ..environments.specs import families, select
    from ..references.scores import reference_list

    chosen = {row.name for row in select(ids, domain, library)}
    entries = [entry for entry in reference_list() if entry["name"] in chosen]
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    count = families(entry["name"] for entry in entries)
    table = Table(title=f"{len(entries):,} environments of {count:,} families with a measured reference")
    for header in ("name", "family", "method", "random", "reference", "public", "of public"):
        table.add_column(
            header, overflow="fold", justify="left" if header in ("name", "family", "method") else "right"
        )
    for entry in entries:
        public = "" if entry["public"] is None else f"{entry['public']['score']:.4g}"
        share = "" if entry["of_public"] is None else f"{entry['of_public']:.0%}"
        means = (f"{entry['random']['mean']:.4g}", f"{entry['reference']['mean']:.4g}")
        table.add_row(entry["name"], entry["family"], entry["method"], *means, public, share)
    console.print(table)
