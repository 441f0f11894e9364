"""Options that several commands of ``ldm`` share, and where they print to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import LDMError

console = Console()

Ids = Annotated[
    list[str] | None, typer.Option("--ids", help="Names or Gymnasium ids; may be repeated, or separated by commas.")
]
Domain = Annotated[str | None, typer.Option(help="Only environments of this domain.")]
Library = Annotated[str | None, typer.Option(help="Only environments of this library.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes.")]
References = Annotated[Path, typer.Option(help="Folder of trained reference policies.")]


def exit_with(failures: dict[str, LDMError]) -> None:
    """Names what failed; the exit code is 1 then."""
    for error in failures.values():
        console.print(f"failed: {error}", style="red", markup=False, highlight=False)
    if failures:
        raise typer.Exit(1)
