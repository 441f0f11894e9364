"""Called by ProperDocs: the page of the ``ldm`` command is made from the command itself."""

import subprocess
import sys

from properdocs.config.defaults import ProperDocsConfig
from properdocs.structure.files import File, Files


def on_files(files: Files, config: ProperDocsConfig) -> None:
    options = ["--name", "ldm", "--title", "The ldm command"]
    command = [sys.executable, "-m", "typer", "ldm_hf.cli.app", "utils", "docs", *options]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    files.append(File.generated(config, "api/ldm.md", content=text))
