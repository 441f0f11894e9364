"""``ldm envs``: lists, checks, splits and generates the catalogue, and installs isolated libraries."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..errors import LDMError
from ..utils.files import write_atomically
from .options import Domain, Ids, Jobs, Library, console

if TYPE_CHECKING:
    from ..environments import EnvironmentSpec

SHOWN = 4  # members of a family that a table names

envs_app = typer.Typer(
    help="Lists, checks and splits the catalogue of environments; installs isolated libraries.",
    no_args_is_help=True,
)


@envs_app.command("list")
def list_environments(
    domain: Domain = None,
    library: Library = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
    by_family: Annotated[
        bool, typer.Option("--families", help="List families: rows that differ in numbers of one world.")
    ] = False,
) -> None:
    """Lists the environments of the catalogue."""
    from ..environments.specs import families, select
    from ..references import method_of

    rows = select(None, domain, library)
    if by_family:
        _list_families(rows, as_json)
        return
    if as_json:
        fields = (
            "name",
            "env_id",
            "kwargs",
            "library",
            "domain",
            "licence",
            "task",
            "max_episode_steps",
            "expected_spaces",
            "family",
            "public",
        )
        entries = [{field: getattr(row, field) for field in fields} | {"reference": method_of(row)} for row in rows]
        print(json.dumps(entries, indent=2))
        return
    count = families(row.name for row in rows)
    title = f"{len(rows):,} environments of {count:,} families and {len({row.library for row in rows})} libraries"
    table = Table(title=title)
    for header in ("name", "domain", "library", "licence", "reference"):
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(row.name, row.domain, row.library, row.licence, method_of(row))
    console.print(table)


def _list_families(rows: list[EnvironmentSpec], as_json: bool) -> None:
    members: dict[str, list[str]] = {}
    for row in rows:
        members.setdefault(row.family, []).append(row.name)
    if as_json:
        print(json.dumps(members, indent=2))
        return
    table = Table(title=f"{len(rows):,} environments of {len(members):,} families")
    for header in ("family", "environments", "names"):
        table.add_column(header, overflow="fold", justify="right" if header == "environments" else "left")
    for family, names in members.items():
        shown = names if len(names) <= SHOWN else [*names[:SHOWN], "..."]
        table.add_row(family, str(len(names)), ", ".join(shown))
    console.print(table)


@envs_app.command()
def check(
    ids: Ids = None,
    domain: Domain = None,
    library: Library = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Check the whole catalogue; takes an hour or more.")
    ] = False,
    output: Annotated[
        Path,
        typer.Option(
            help="JSON file of the results, continued if it exists; the summary is written next to it as .md."
        ),
    ] = Path("outputs/environments.json"),
    jobs: Jobs = 1,
    limit: Annotated[float, typer.Option(min=1, help="Time limit for one environment, in seconds.")] = 120,
    force: Annotated[bool, typer.Option(help="Also check environments that passed earlier.")] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Store the spaces found as those expected from now on.")
    ] = False,
) -> None:
    """Makes and steps environments: reports which work, how fast they are and which spaces they have."""
    from ..environments import checking
    from ..environments.specs import select

    if not (everything or ids or domain or library):
        raise LDMError("nothing to check: choose by --ids, --domain or --library, or say --all")
    rows = select(ids, domain, library)
    command = " ".join(["ldm", *sys.argv[1:]])
    results = checking.check(rows, output, jobs, limit, force, command)
    write_atomically(output.with_suffix(".md"), checking.markdown_report(results))
    if record:
        checking.expect(results)
    names = {row.name for row in rows}
    chosen = results | {
        "environments": {name: entry for name, entry in results["environments"].items() if name in names}
    }
    header, lines = checking.summary_rows(chosen, "library")
    table = Table(title=f"{len(rows):,} environments")
    for column in header:
        table.add_column(column, justify="left" if column == "library" else "right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    wrong = checking.flaws(chosen)
    for name, verdict, reason in wrong:
        console.print(f"{name} {verdict}: {reason}", style="red", markup=False, highlight=False)
    console.print(f"Results in {output}; summary in {output.with_suffix('.md')}")
    if wrong:
        raise typer.Exit(1)


@envs_app.command()
def split(
    output: Annotated[Path, typer.Option(help="Folder to write train.txt and held-out.txt to, one name per line.")],
    hold_out: Annotated[str | None, typer.Option(help="Library to hold out as a whole.")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the other environments to hold out.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 0,
    keep: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File of names, one per line, that are never held out."),
    ] = None,
) -> None:
    """Splits environments into those to train on and those held out of training.

    Only environments whose reference policy is known to beat random actions take part.
    """
    from ..environments.specs import select
    from ..environments.specs import split as split_rows
    from ..references import reference_scores

    kept = [row.name for row in select(keep.read_text(encoding="utf-8").split())] if keep else []
    if hold_out:
        select(None, library=hold_out)  # refuses an unknown one
    scores = reference_scores()
    rows = [
        row for row in select(None) if row.name in kept or (row.name in scores and scores[row.name]["beats_random"])
    ]
    parts = dict(zip(("train", "held-out"), split_rows(rows, hold_out, share, seed, kept), strict=True))
    for name, part in parts.items():
        write_atomically(output / f"{name}.txt", "".join(f"{row.name}\n" for row in part))
        console.print(
            f"{output / name}.txt: {len(part)} environments of {len({row.library for row in part})} libraries"
        )


@envs_app.command()
def generate(
    libraries: Annotated[list[str], typer.Argument(help="Names of libraries, as in `ldm envs list`.")],
    folder: Annotated[
        Path | None, typer.Option(help="Folder that holds the folders of libraries; the package's own by default.")
    ] = None,
) -> None:
    """Adds catalogue rows for libraries that register many environments; existing rows stay as they are."""
    from ..environments.generating import generate_rows
    from ..environments.library_folders import ROOT

    for library in libraries:
        path, added, total = generate_rows(library, folder or ROOT)
        console.print(f"{path}: {added} rows added, {total} in all")


@envs_app.command("install")
def install_library(
    library: Annotated[
        str, typer.Argument(help="Name of an isolated library: one that needs its own virtual environment.")
    ],
) -> None:
    """Creates the virtual environment of an isolated library and installs the library there."""
    from ..environments.isolation import install

    console.print(f"{library} is installed: {install(library)}")
