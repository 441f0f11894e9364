"""Runs the command ``ldm`` for tests, in this process or in another."""

import subprocess
import sys

from typer.testing import CliRunner

from ldm_hf.cli import app as cli

MAIN = "from ldm_hf.cli import main; main()"


def ldm(*arguments: str):
    """Runs the command in this process. An error of ours is ``result.exception``; `main` makes a line of it."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
