"""Virtual environments of isolated libraries, made from pinned requirements by uv, or else by venv and pip.

A library is isolated if its folder has ``requirements.txt``. ``uv pip compile`` writes such a file. Only what is in
there is installed, so that requirements that a library declares in vain can be left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import deque
from functools import cache
from pathlib import Path

from filelock import FileLock
from tqdm.auto import tqdm

from ...errors import InstallationError, NotInstalledError
from ...utils.files import check_writable, environments_folder, write_atomically
from ...utils.installed import package_version
from ..library_folders import REQUIREMENTS, folder_of, libraries

DONE = "ldm_hf.json"  # written last: an environment without it is incomplete
LAST_LINES = 15  # of the installer's output, shown where it fails


def requirements_of(library: str) -> Path:
    """The file of pinned requirements."""
    return folder_of(library) / REQUIREMENTS


def is_isolated(library: str) -> bool:
    """Whether the library has its own virtual environment."""
    return requirements_of(library).exists()


@cache
def pinned_version(library: str) -> str:
    """The version that the requirements of an isolated library pin."""
    text = requirements_of(library).read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(library)}==(\S+)", text, re.MULTILINE | re.IGNORECASE)
    return found.group(1) if found else ""


def environment_of(library: str) -> Path:
    """The folder of the virtual environment; other requirements or another Python give another folder."""
    content = requirements_of(library).read_bytes() + sys.version.encode()
    return environments_folder() / f"{library}-{hashlib.sha256(content).hexdigest()[:12]}"


def is_installed(library: str) -> bool:
    """Whether the virtual environment of an isolated library has been made."""
    return (environment_of(library) / DONE).exists()


def installed_version(library: str) -> str:
    """The version of a library of environments that is installed, in this interpreter or in its own; empty if there is
    none."""
    if is_isolated(library):
        return pinned_version(library) if is_installed(library) else ""
    known = libraries().get(library)
    return package_version((known and known.package) or library)


def python_of(library: str) -> Path:
    """The interpreter of an isolated library.

    Raises:
        NotInstalledError: if it has not been made; the message has the command that installs it.
    """
    if not is_installed(library):
        raise NotInstalledError(library)
    return environment_of(library) / "bin" / "python"


def install(library: str, progress: bool = True) -> Path:
    """Makes the virtual environment of a library, unless it is there already.

    Args:
        library: name of an isolated library.
        progress: show a progress bar with the last line of the installer.

    Returns:
        The interpreter of the virtual environment.

    Raises:
        InstallationError: if the library is not isolated, or the installer failed; then the message has its last lines.
    """
    if not is_isolated(library):
        known = ", ".join(sorted(name for name in libraries() if is_isolated(name)))
        raise InstallationError(f"{library} has no virtual environment of its own; those that have: {known}")
    folder = environment_of(library)
    check_writable(f"{folder}.lock")
    with FileLock(f"{folder}.lock"):
        if not is_installed(library):
            shutil.rmtree(folder, ignore_errors=True)
            for command in _commands(folder, requirements_of(library)):
                _run(command, library, progress)
            done = {"library": library, "version": pinned_version(library), "python": sys.version}
            write_atomically(folder / DONE, json.dumps(done, indent=2) + "\n")
    return python_of(library)


def _commands(folder: Path, requirements: Path) -> list[list[str]]:
    """The command that makes the virtual environment, and the one that installs into it."""
    python = str(folder / "bin" / "python")
    uv = shutil.which("uv") or shutil.which("uv", path=sysconfig.get_path("scripts"))
    if uv:
        return [
            [uv, "venv", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--python", python, "--no-deps", "--requirement", str(requirements)],
        ]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--no-deps", "--requirement", str(requirements)],
    ]


def _run(command: list[str], library: str, progress: bool) -> None:
    last: deque[str] = deque(maxlen=LAST_LINES)
    with (
        tqdm(desc=f"install {library}", unit=" lines", disable=not progress) as bar,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.rstrip())
            bar.set_postfix_str(last[-1][:60])
            bar.update()
    if process.returncode:
        raise InstallationError(
            f"{library} cannot be installed: {' '.join(command)} ended with exit code {process.returncode}:\n"
            + "\n".join(last)
        )
