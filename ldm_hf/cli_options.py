"""Options that several commands of ``ldm`` share, and where they print to."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

console = Console()

Ids = Annotated[
    list[str] | None, typer.Option("--ids", help="Names or Gymnasium ids; may be repeated, or separated by commas.")
]
Domain = Annotated[str | None, typer.Option(help="Only environments of this domain.")]
Library = Annotated[str | None, typer.Option(help="Only environments of this library.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes.")]
