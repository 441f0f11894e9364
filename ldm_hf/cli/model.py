"""``ldm export`` and ``ldm card``: from a trained model to the folder that is its repo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import console


def export(
    model: Annotated[str, typer.Option(help="Folder or Hub id of a pretrained LDM.")],
    output: Annotated[Path, typer.Option(help="Folder to write; what else lies in it stays.")],
) -> None:
    """Writes a model's repo: weights in bfloat16, configuration, processor, and the code that runs without this package."""
    from ..hub import export_model

    console.print(f"model in {export_model(model, output)}")


def card(
    folder: Annotated[Path, typer.Argument(help="Of `ldm export`, with results.json of `ldm evaluate` in it.")],
    name: Annotated[str | None, typer.Option(help="Title; the folder's name by default.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Hub id of the trajectories; may be repeated.")] = None,
    licence: Annotated[str, typer.Option(help="Of the weights, as the Hub spells it.")] = "apache-2.0",
) -> None:
    """Writes the model card from what was measured."""
    from ..hub import write_card

    console.print(f"card in {write_card(folder, name, dataset, licence)}")
