"""``ldm collect``: trajectories of reference policies or of a model, with the reference's action as label of every step."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from tqdm.auto import tqdm

from ..errors import LDMError
from .options import Domain, Ids, Jobs, Library, References, console, exit_with

if TYPE_CHECKING:
    from ..collection.estimating import Estimate

SHOWN = 15  # environments that take longest


class ExecutorName(StrEnum):
    """Where the work is done."""

    local = "local"
    ray = "ray"


def collect_command(
    ids: Ids = None,
    domain: Domain = None,
    library: Library = None,
    everything: Annotated[bool, typer.Option("--all", help="Every environment that has a reference.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the dataset; continued if there is one.")] = Path(
        "outputs/trajectories"
    ),
    steps_per_env: Annotated[int, typer.Option(min=1, help="Steps of each environment.")] = 20_000,
    references: References = Path("outputs/references"),
    student: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of an LDM that acts while the reference policy labels every step."),
    ] = None,
    mix: Annotated[
        float,
        typer.Option(min=0, max=1, help="Probability that the reference acts in place of the LDM, step by step."),
    ] = 0.5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate what it will take.")] = False,
    jobs: Jobs = 2,
    executor: Annotated[
        ExecutorName, typer.Option(help="Processes of this machine, or of a Ray cluster.")
    ] = ExecutorName.local,
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster, host:port or 'auto'; it has to see the output folder.")
    ] = None,
    seed: int = 0,
) -> None:
    """Collects trajectories with the action of the reference policy as label of every step; estimates first what it will take."""
    from ..collection import Plan
    from ..collection import collect as collect_all
    from ..collection.collecting import local_executor
    from ..environments.specs import select
    from ..references import method_of

    if not (everything or ids or domain or library):
        raise LDMError("nothing to collect: choose by --ids, --domain or --library, or say --all")
    rows = [row for row in select(ids, domain, library) if ids or method_of(row) != "none"]
    plan = Plan(str(output.absolute()), str(references.absolute()), steps_per_env, seed, student, mix)
    run: Any = local_executor
    if executor is ExecutorName.ray:
        from ..utils.ray import on_ray

        run = on_ray(address)
    _estimate(rows, plan, jobs, run)
    if dry_run:
        return
    failures = collect_all(rows, plan, jobs, executor=run)
    console.print(f"{len(rows) - len(failures)} environments in {output}")
    exit_with(failures)


def _estimate(rows: list[Any], plan: Any, jobs: int, run: Any) -> None:
    """Shows time and disk.

    Raises:
        LDMError: if the disk is too small.
    """
    from ..collection.estimating import estimate_environment

    tasks = {row.name: (row, plan) for row in rows}
    found: dict[str, Estimate] = {}
    with tqdm(total=len(tasks), desc="estimate", unit="environment") as bar:
        for name, outcome in run(estimate_environment, tasks, jobs, lambda amount: None):
            bar.update()
            if not isinstance(outcome, LDMError):  # collection will name it
                found[name] = outcome
    due = {name: estimate for name, estimate in found.items() if estimate.steps}
    title = f"Estimate of {len(due):,} environments; {len(found) - len(due):,} are complete"
    if len(found) < len(tasks):
        title += f", {len(tasks) - len(found):,} failed"
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
        f"In all {steps:,} steps: about {seconds / jobs / 60:,.1f} minutes of {jobs} process(es) and "
        f"{size / 1e6:,.0f} MB on the disk, where {free / 1e6:,.0f} MB are free"
    )
    if size > free:
        raise LDMError(f"{plan.folder} has too little space; choose another --output, or fewer --steps-per-env")
