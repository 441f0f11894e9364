"""Jack of All Trades (Gallouédec et al. 2024): its own code, run by a process with the libraries that it needs."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from ldm_hf.utils.files import environments_folder

FOLDER = Path(__file__).parent
KINDS = ("vectors", "images")


def environment() -> Path:
    """The Python of a virtual environment in the user's cache, made on first use.

    It also finds the packages of this environment, after its own, so that both contenders run the same build of torch.
    """
    requirements, packages = FOLDER / "requirements.txt", sysconfig.get_path("purelib")
    key = hashlib.sha256(f"{sys.executable} {packages} {requirements.read_text()}".encode()).hexdigest()[:12]
    folder = environments_folder() / f"jat-{key}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "ready").exists():
        venv.create(folder, clear=True, with_pip=True)
        own = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        (Path(own) / "behind.pth").write_text(packages + "\n", encoding="utf-8")
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-warn-conflicts", "-r", requirements], check=True
        )
        (folder / "ready").touch()
    return python


class Jat:
    """JAT with random weights at the sizes of a benchmark.

    Args:
        checkout: Folder of a checkout of https://github.com/huggingface/jat.
        args: Options of the benchmark, with ``hidden``, ``layers``, ``window`` (steps) and ``device``.
        threads: Number of torch threads.

    Raises:
        FileNotFoundError: if ``checkout`` is no checkout of JAT.
        RuntimeError: if JAT's process ended.
    """

    def __init__(self, checkout: Path, args: argparse.Namespace, threads: int) -> None:
        if not (checkout / "jat" / "modeling_jat.py").exists():
            raise FileNotFoundError(f"{checkout} is no checkout of JAT; git clone https://github.com/huggingface/jat")
        sizes = [args.hidden, args.layers, args.window, threads]
        command = [
            environment(),
            "-W",
            "ignore",
            FOLDER / "worker.py",
            checkout.resolve(),
            *map(str, sizes),
            args.device,
        ]
        quiet = os.environ | {"TRANSFORMERS_VERBOSITY": "error"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)
        self._answer()  # comes when the windows are full

    def _answer(self) -> None:
        if not self.process.stdout.readline():
            raise RuntimeError(f"JAT ended with status {self.process.wait()}; its message is above.")

    def step(self, kind: str) -> None:
        """One action for one environment whose observations are of this kind."""
        self.process.stdin.write(kind + "\n")
        self.process.stdin.flush()
        self._answer()

    def __enter__(self) -> Jat:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
