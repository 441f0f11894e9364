"""Options that several commands of ``ldm`` share, and the console that they print to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import LDMError

if TYPE_CHECKING:
    from ..utils.parallel import Executor

console = Console()


class Where(StrEnum):
    """Where the processes run."""

    LOCAL = "local"
    RAY = "ray"


Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--ids", help="Names or Gymnasium ids of environments, separated by commas; the option may be repeated."
    ),
]
Domain = Annotated[str | None, typer.Option(help="Only environments of this domain.")]
Library = Annotated[str | None, typer.Option(help="Only environments of this library.")]
Jobs = Annotated[int, typer.Option(min=1, help="Number of processes.")]
RunOn = Annotated[Where, typer.Option("--executor", help="Run the processes on this machine or on a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="With --executor ray: host:port of the cluster, or 'auto'; by default, a new one on this machine.",
    ),
]
References = Annotated[Path, typer.Option(help="Folder of trained reference policies.")]
Model = Annotated[str, typer.Option(help="Folder or Hub id of a pretrained LDM.")]


def names_of(ids: list[str] | None) -> list[str] | None:
    """The single names of ``--ids``; None if there are none."""
    return [name for part in ids or [] for name in part.split(",")] or None


def executor_of(where: Where, address: str | None) -> Executor:
    """The executor that ``--executor`` and ``--address`` ask for.

    Raises:
        MissingExtraError: if ray is needed and not installed.
        LDMError: if there is no cluster at this address, or the address is for another executor.
    """
    if where is Where.RAY:
        from ..utils.ray import on_ray

        return on_ray(address)
    if address is not None:
        raise LDMError("--address goes with --executor ray")
    from ..utils.parallel import run_tasks

    return run_tasks


def exit_with(failures: dict[str, LDMError]) -> None:
    """Prints the failures; exits with code 1 if there are any."""
    for error in failures.values():
        console.print(f"failed: {error}", style="red", markup=False, highlight=False)
    if failures:
        raise typer.Exit(1)
