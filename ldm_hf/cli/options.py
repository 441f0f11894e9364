"""Options that several commands of ``ldm`` share, and the console that they print to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import LDMError

console = Console()

Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--ids", help="Names or Gymnasium ids of environments, separated by commas; the option may be repeated."
    ),
]
Domain = Annotated[str | None, typer.Option(help="Only environments of this domain.")]
Library = Annotated[str | None, typer.Option(help="Only environments of this library.")]
Jobs = Annotated[int, typer.Option(min=1, help="Number of processes.")]
References = Annotated[Path, typer.Option(help="Folder of trained reference policies.")]
Model = Annotated[str, typer.Option(help="Folder or Hub id of a pretrained LDM.")]


def names_of(ids: list[str] | None) -> list[str] | None:
    """The single names of ``--ids``; None if there are none."""
    return [name for part in ids or [] for name in part.split(",")] or None


def exit_with(failures: dict[str, LDMError]) -> None:
    """Prints the failures; exits with code 1 if there are any."""
    for error in failures.values():
        console.print(f"failed: {error}", style="red", markup=False, highlight=False)
    if failures:
        raise typer.Exit(1)
