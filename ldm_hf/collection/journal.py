"""Finished episodes that are in no shard yet, in a file that outlives the process which recorded them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import DatasetError
from ..trajectories import EnvironmentInfo, TrajectoryWriter
from ..trajectories.schema import Column, Episode, columns
from ..trajectories.writer import stored
from ..utils.parallel import report

logger = logging.getLogger(__name__)

FILE = ".journal"
BASE = struct.Struct("<q")  # at the beginning of the file: the number of episodes that were in shards by then
FRAME = struct.Struct("<II")  # before every episode: its length in bytes and its CRC-32
POLL_SECONDS = 1.0


class Journal:
    """The journal of one environment, which belongs to one process at a time; use it as a context manager.

    What a process that has ended left in it goes into a shard at once. At the end of the block it is removed.

    Args:
        folder: folder of the environment; it is made.
        wait: wait for another process that collects in the folder.

    Raises:
        DatasetError: by all methods, if the disk is full.
        BlockingIOError: if another process collects there, and it is not to be waited for.
    """

    def __init__(self, folder: Path, wait: bool = True) -> None:
        self.folder, self.wait = folder, wait

    def __enter__(self) -> Journal:
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = _locked(self.folder / FILE, self.wait)
        self._columns: list[Column] = []
        try:
            if left := self._left():
                with TrajectoryWriter(self.folder.parent, EnvironmentInfo.load(self.folder)) as writer:
                    for episode in left:
                        writer.write(episode)
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self.folder / FILE).unlink(missing_ok=True)
        os.close(self._file)

    def begin(self, known: list[Column], base: int) -> None:
        """Empties the journal.

        Args:
            known: columns of the episodes that will follow.
            base: number of episodes in shards.
        """
        self._columns = known
        with self._told():
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, BASE.pack(base))

    def append(self, episodes: Iterable[Episode]) -> None:
        """Adds episodes; when this returns, they survive the end of the process."""
        parts: list[bytes] = []
        for episode in episodes:
            data = _encoded(episode, self._columns)
            parts += [FRAME.pack(len(data), zlib.crc32(data)), data]
        with self._told():
            os.write(self._file, b"".join(parts))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Names the folder in errors of the disk."""
        try:
            yield
        except BlockingIOError:
            raise
        except OSError as error:
            raise DatasetError(
                f"{self.folder.name}: writing to {self.folder} failed ({error}). Free some space and run it again."
            ) from error

    def _left(self) -> list[Episode]:
        """The episodes that are in no shard, up to one that was not written to its end."""
        data = os.pread(self._file, os.fstat(self._file).st_size, 0)
        if len(data) < BASE.size or not (self.folder / "environment.json").exists():
            return []
        known = columns(*EnvironmentInfo.load(self.folder).spaces)
        episodes, start = [], BASE.size
        while start + FRAME.size <= len(data):
            length, checksum = FRAME.unpack_from(data, start)
            frame = data[start + FRAME.size : start + FRAME.size + length]
            if zlib.crc32(frame) != checksum or len(frame) != length:
                break
            try:
                episodes.append(_decoded(frame, known))
            except (ValueError, TypeError, StopIteration, struct.error):  # written for other spaces
                break
            start += FRAME.size + length
        # it may have ended between writing a shard and emptying the journal
        since = stored(self.folder)[0] - BASE.unpack_from(data)[0]
        return episodes[since:] if since >= 0 else []


def has_journal(folder: Path) -> bool:
    """Whether an environment has a journal: another process collects there, or one that has ended did."""
    return (folder / FILE).exists()


def recover(folder: Path, wait: bool = True) -> None:
    """Puts what a process that has ended left in the journal of an environment into a shard.

    Args:
        folder: folder of the environment.
        wait: wait for another process that collects there; otherwise nothing is done.
    """
    if has_journal(folder):
        with contextlib.suppress(BlockingIOError), Journal(folder, wait):
            pass


def _locked(path: Path, wait: bool) -> int:
    """Descriptor of the file, which no other process has locked; it is made if there is none."""
    waited = False
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError | PermissionError):
                return file  # the file system knows no locks
            os.close(file)
            if not wait:
                raise BlockingIOError(error.errno, "another process collects there") from error
            if not waited:
                logger.warning("%s: another process collects there; waiting for it", path.parent)
            waited = True
            report(0)  # a sign of life
            time.sleep(POLL_SECONDS)
            continue
        try:
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return file
        except FileNotFoundError:
            pass
        os.close(file)  # who had it has removed it


def _encoded(episode: Episode, known: list[Column]) -> bytes:
    """An episode as bytes: the length of a JSON header, the header, the arrays."""
    by_name: Any = episode
    values = [by_name[column.role] if column.space is None else by_name[column.role][column.path] for column in known]
    texts = [list(value) for column, value in zip(known, values, strict=True) if column.is_text]
    header = json.dumps([len(episode["reward"]), episode["seed"], episode["behaviour"], texts]).encode()
    arrays = [
        np.ascontiguousarray(value, column.dtype).tobytes()
        for column, value in zip(known, values, strict=True)
        if not column.is_text
    ]
    return b"".join([struct.pack("<I", len(header)), header, *arrays])


def _decoded(data: bytes, known: list[Column]) -> Episode:
    """Inverse of `_encoded`."""
    (length,) = struct.unpack_from("<I", data)
    steps, seed, behaviour, texts = json.loads(data[4 : 4 + length])
    start, remaining = 4 + length, iter(texts)
    episode: Any = {"observation": {}, "action": {}, "label": {}, "seed": seed, "behaviour": behaviour}
    for column in known:
        if column.is_text:
            value = np.asarray(next(remaining), object)
        else:
            count = steps * column.size
            value = np.frombuffer(data, column.dtype, count, start).reshape(steps, *column.shape)
            start += count * column.dtype.itemsize
        if column.space is None:
            episode[column.role] = value
        else:
            episode[column.role][column.path] = value
    found: Episode = episode
    return found
