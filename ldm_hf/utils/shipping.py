"""Folders as values: what is in them goes to another machine, and what a task changes in them comes back."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import LDMError, short
from .files import writing

UNFINISHED = ".unfinished-"  # files that no one reads
SCRATCH = "ldm_hf-tasks-"
YOUNG = 60.0  # seconds in which a folder may not have been locked yet

Files = dict[str, np.ndarray]
"""Contents of files ``(bytes,)`` by their path in a folder, those first that were written first."""
State = dict[str, tuple[int, ...]]
"""What tells a file from one that was written later, by its path in a folder."""


@dataclass(frozen=True)
class Changes:
    """What has happened in a folder.

    Args:
        written: files that are new or have another content.
        removed: paths of files that are gone.
    """

    written: Files
    removed: list[str]


def state(folder: Path) -> State:
    """The state of all files of a folder, those first that were written first; empty if there is no folder."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(UNFINISHED):
            about = path.stat()
            found[path.relative_to(folder).as_posix()] = (about.st_mtime_ns, about.st_ino, about.st_size)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def pack(folder: Path, known: State | None = None) -> Files:
    """The files of a folder, or those of a state of it."""
    return {path: np.fromfile(folder / path, np.uint8) for path in (state(folder) if known is None else known)}


def unpack(files: Files, folder: Path) -> None:
    """Writes files into a folder, which is made.

    Raises:
        LDMError: if a path leads out of the folder.
        OSError: if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        place = folder / _checked(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        content.tofile(place)


def changes(folder: Path, before: State) -> Changes:
    """What has happened in a folder since it was in a state."""
    now = state(folder)
    written = {path: about for path, about in now.items() if before.get(path) != about}
    return Changes(pack(folder, written), [path for path in before if path not in now])


def apply(found: Changes, folder: Path, before: State) -> None:
    """Brings changes that were made elsewhere into the folder that they are changes of.

    All files are written beside it first, and then put into their places in the order in which the task wrote them: a
    full disk changes nothing, and a crash leaves what a crash of the task itself could have left.

    Args:
        found: the changes.
        folder: the folder; it is made.
        before: the state that the changes start from.

    Raises:
        LDMError: if the folder is not in this state any more, or a path leads out of it.
        UnwritableError: if a file cannot be written.
    """
    if not found.written and not found.removed:
        return
    with writing(folder), tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder.parent) as beside:
        unpack(found.written, Path(beside))
        for path in found.written:
            with open(Path(beside) / path, "rb") as file:
                os.fsync(file.fileno())
        if state(folder) != before:
            raise LDMError(
                f"{folder} was changed while a task worked on a copy of it elsewhere, so what the task has stored is "
                "left out; let only one command write there, and run it again."
            )
        for path in found.written:
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(beside) / path, place)
        for path in found.removed:
            (folder / _checked(path)).unlink(missing_ok=True)


def _checked(path: str) -> str:
    """A relative path that stays in its folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise LDMError(f"{short(path)} is no path of a file in the folder of a task")
    return path


class Scratch:
    """A temporary folder that belongs to this process; those of processes that were killed are removed on the way.

    Raises:
        OSError: if it cannot be made.
    """

    def __init__(self) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > YOUNG:
                    os.close(_locked(left))
                    shutil.rmtree(left)
        self.path = Path(tempfile.mkdtemp(prefix=SCRATCH))
        self._lock = _locked(self.path)

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _locked(folder: Path) -> int:
    """Descriptor of a folder that this process has locked; an `OSError` if another has."""
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file
