"""The console command ``ldm``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from .. import __version__
from ..errors import LDMError
from ..utils.display import print_anywhere
from ..utils.parallel import only_in_processes
from .collect import collect_command
from .dataset import dataset_app, import_data
from .demo import demo
from .doctor import doctor
from .envs import envs_app
from .improve import improve_command
from .model import card, evaluate, export, play, push
from .reference import reference_command
from .serve import serve

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(envs_app, name="envs")
app.command("reference")(reference_command)
app.command("collect")(collect_command)
app.command("import")(import_data)
app.add_typer(dataset_app, name="dataset")
app.command("improve")(improve_command)
app.command()(evaluate)
app.command()(play)
app.command()(export)
app.command()(card)
app.command()(push)
app.command()(serve)
app.command()(demo)
app.command()(doctor)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"ldm_hf {__version__}")
        raise typer.Exit


@app.callback()
def _ldm(
    asked: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Large Decision Models: environments, reference policies, trajectories, models and their evaluation."""


def run(command: Callable[[], object]) -> None:
    """Runs a command; an error that a user can cure is printed as one line without a stack trace."""
    print_anywhere()
    logging.basicConfig(format="%(levelname)s %(message)s")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with only_in_processes():  # an environment that crashes must not end the command
            command()
    except LDMError as error:
        sys.exit(f"error: {error}")
    except OSError as error:  # of a file that the user has named
        if error.filename is None:
            raise
        sys.exit(f"error: {error.filename}: {error.strerror}")


def main() -> None:
    """Entry point of ``ldm``."""
    run(app)
