"""``ldm collect``: trajectories of reference policies or of a model, each step labelled with the reference's action."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from tqdm.auto import tqdm

from ..errors import LDMError
from .options import (
    Address,
    Domain,
    Ids,
    Jobs,
    Library,
    References,
    RunOn,
    Where,
    console,
    executor_of,
    exit_with,
)

if TYPE_CHECKING:
    from ..collection import Plan
    from ..collection.estimating import Estimate
    from ..environments import EnvironmentSpec
    from ..utils.parallel import Executor

SHOWN = 15  # rows of the table of estimates: the environments that take longest


def collect_command(
    ids: Ids = None,
    domain: Domain = None,
    library: Library = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Collect in every environment that has a reference policy.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder of the dataset; an existing dataset is continued.")] = Path(
        "outputs/trajectories"
    ),
    steps_per_env: Annotated[int, typer.Option(min=1, help="Steps to collect in each environment.")] = 20_000,
    seconds_per_env: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds to record in each environment, after which no other episode is begun; time is not estimated "
            "then. By default no limit.",
        ),
    ] = None,
    references: References = Path("outputs/references"),
    student: Annotated[
        str | None,
        typer.Option(
            help="Folder or Hub id of an LDM that acts while the reference policy labels every step, as in DAgger."
        ),
    ] = None,
    mix: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="With --student: probability that the reference policy acts in a step instead."
        ),
    ] = 0.5,
    improving: Annotated[
        int,
        typer.Option(
            min=0,
            help="Episodes within which the behaviour improves, again and again, from random actions (or the student "
            "alone) to the reference; 0: the usual mixture.",
        ),
    ] = 0,
    drawn: Annotated[
        int,
        typer.Option(
            min=0,
            help="Collect in so many worlds of each environment instead, each with other numbers (gravity, mass, "
            "costs, ...), which neither its task nor what is observed tells; environments without such numbers are "
            "left out.",
        ),
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate time and disk space.")] = False,
    jobs: Jobs = 2,
    executor: RunOn = Where.LOCAL,
    address: Address = None,
    seed: Annotated[int, typer.Option(help="Seed of the first episode.")] = 0,
) -> None:
    """Collects trajectories; the action of the reference policy is the label of every step.

    Time and disk space are estimated first, unless the time is limited.
    """
    from ..collection import Plan
    from ..collection import collect as collect_all
    from ..environments.knobs import drawn_rows
    from ..environments.specs import select
    from ..references import method_of

    if not (everything or ids or domain or library):
        raise LDMError("nothing to collect: choose by --ids, --domain or --library, or say --all")
    rows = [row for row in select(ids, domain, library) if ids or method_of(row) != "none"]
    if drawn:
        rows = drawn_rows(rows, drawn)
    folders = str(output.absolute()), str(references.absolute())
    plan = Plan(*folders, steps_per_env, seed, student, mix, improving=improving, seconds=seconds_per_env)
    run = executor_of(executor, address)
    if dry_run or seconds_per_env is None:
        _estimate(rows, plan, jobs, run)
    if dry_run:
        return
    failures = collect_all(rows, plan, jobs, executor=run)
    console.print(f"{len(rows) - len(failures)} environments in {output}")
    exit_with(failures)


def _estimate(rows: list[EnvironmentSpec], plan: Plan, jobs: int, run: Executor) -> None:
    """Prints how much time and disk space the collection needs.

    Raises:
        LDMError: if the disk is too small.
    """
    from ..collection.collecting import with_folders
    from ..collection.estimating import COMPLETE, estimate_environment

    found: dict[str, Estimate] = {row.name: COMPLETE for row in rows if plan.complete(row)}
    tasks = {row.name: (row, plan) for row in rows if row.name not in found}
    work = partial(with_folders, estimate_environment)
    with tqdm(total=len(rows), initial=len(found), desc="estimate", unit="environment") as bar:
        for name, outcome in run(work, tasks, jobs, shared=plan.shared, own=plan.own):
            bar.update()
            if not isinstance(outcome, LDMError):  # collection will report the error
                found[name] = outcome
    due = {name: estimate for name, estimate in found.items() if estimate.steps}
    title = f"Estimate of {len(due):,} environments; {len(found) - len(due):,} are complete"
    if len(found) < len(rows):
        title += f", {len(rows) - len(found):,} failed"
    table = Table(title=title)
    for header in ("name", "steps", "steps/s", "seconds", "MB"):
        table.add_column(header, justify="left" if header == "name" else "right")
    for name, estimate in sorted(due.items(), key=lambda item: -item[1].seconds)[:SHOWN]:
        cells = (f"{estimate.steps_per_second:,.0f}", f"{estimate.seconds:,.0f}", f"{estimate.bytes / 1e6:,.1f}")
        table.add_row(name, f"{estimate.steps:,}", *cells)
    console.print(table)
    steps, seconds, size = (sum(getattr(e, field) for e in due.values()) for field in ("steps", "seconds", "bytes"))
    folder = Path(plan.folder)
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    console.print(
        f"In all {steps:,} steps: about {seconds / jobs / 60:,.1f} minutes with {jobs} process(es) and "
        f"{size / 1e6:,.0f} MB on the disk, where {free / 1e6:,.0f} MB are free"
    )
    if size > free:
        raise LDMError(f"{plan.folder} has too little space; choose another --output, or fewer --steps-per-env")
