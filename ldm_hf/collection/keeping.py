"""Keeps what was recorded: every episode is checked and soon outlives its process; one that fails again is left out."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import DatasetError, EnvironmentFailure, LDMError, NotAMemberError
from ..spaces import holds_all
from ..trajectories import TrajectoryWriter
from ..trajectories.schema import Column, Episode
from ..utils.files import save_json
from ..utils.membership import outside
from .journal import Journal, recover
from .recording import CALLS, RECORDING

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 300.0  # between two shards; what came since the last one is in the journal
FREE_SECONDS = 0.1  # for keeping the first episodes at once
SHARE = 0.02  # of the time afterwards
LARGE = 2**25  # bytes of observations
FAILED = "failures.json"
ATTEMPTS = 2  # an episode that has failed so often is left out


class Keeper:
    """Checks and keeps finished episodes; use it as a context manager.

    At first each episode goes into the journal at once, then several together, so that this takes a fiftieth of the
    time at most. Many bytes at once, as pictures have them, become a shard without a detour.

    Args:
        writer: writes the shards.
        journal: holds what is in no shard yet.
        episodes: number of episodes that shards hold already.
    """

    def __init__(self, writer: TrajectoryWriter, journal: Journal, episodes: int) -> None:
        self._writer, self._journal, self._stored = writer, journal, episodes
        self._checked = [column for column in writer.columns if column.space and not holds_all(column.space)]
        self._new: list[Episode] = []
        self._bytes, self._spent, self._due = 0, 0.0, 0.0
        self._began = self._flushed = time.monotonic()
        journal.begin(writer.columns, episodes)

    def add(self, episode: Episode) -> None:
        """Takes a finished episode.

        Raises:
            EnvironmentFailure: if a value in it or in one before is no member of its space; those before it are kept.
            DatasetError: if the disk is full.
        """
        self._new.append(episode)
        self._bytes += sum(values.nbytes for values in episode["observation"].values())
        if self._bytes >= LARGE or time.monotonic() >= self._due:
            self.keep()

    def keep(self) -> None:
        """Checks and keeps all episodes so far; raises what `add` does."""
        started = time.monotonic()
        new, large = self._new, self._bytes >= LARGE
        self._new, self._bytes = [], 0
        count, failure = first_wrong(new, self._checked, self._writer.info.name)
        if not large:
            self._journal.append(new[:count])
        self._spent += time.monotonic() - started
        self._due = self._began + (self._spent - FREE_SECONDS) / SHARE
        held = len(self._writer.unwritten)
        for episode in new[:count]:
            self._writer.write(episode)
        self._stored += count
        if large or started - self._flushed > FLUSH_SECONDS:
            self._writer.flush()
        if len(self._writer.unwritten) < held + count:  # a shard was written
            self._flushed = started
            self._journal.begin(self._writer.columns, self._stored - len(self._writer.unwritten))
            self._journal.append(self._writer.unwritten)
        if failure is not None:
            raise failure

    def __enter__(self) -> Keeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, DatasetError):  # after a full disk there is no point in trying again
            self.keep()


def first_wrong(episodes: list[Episode], checked: list[Column], name: str) -> tuple[int, EnvironmentFailure | None]:
    """Compares the values of episodes with their spaces, all episodes at once.

    Args:
        episodes: the episodes.
        checked: columns to check.
        name: name of the environment, for messages.

    Returns:
        The number of episodes before the first wrong one, and what is wrong with that; None if all are right.
    """
    count, failure = len(episodes), None
    for column in checked if episodes else ():
        parts: list[Any] = [episode[column.role][column.path] for episode in episodes[:count]]  # type: ignore[literal-required]
        assert column.space is not None
        wrong = outside(column.space, np.concatenate(parts)) if parts else np.zeros(0, bool)
        if wrong.any():
            place, count = int(wrong.argmax()), 0
            while place >= len(parts[count]):
                place, count = place - len(parts[count]), count + 1
            problem = NotAMemberError(column.path, column.space, parts[count][place], place)
            text = f"{column.role} of step {place}: {problem}"
            failure = EnvironmentFailure(name, CALLS[column.role], text, episodes[count]["seed"])
    return count, failure


# --- episodes that fail ----------------------------------------------------------------------------------------------


def left_out(folder: Path) -> list[int]:
    """Seeds of the episodes of an environment that have failed `ATTEMPTS` times, in order.

    Raises:
        DatasetError: if the file that counts failures is damaged.
    """
    return sorted(seed for seed, failures in _failures(folder).items() if len(failures) >= ATTEMPTS)


def note_failure(folder: Path, failure: LDMError) -> None:
    """Keeps what a process that has died had recorded, and counts the failure of an episode.

    Args:
        folder: folder of the environment.
        failure: why its collection ended.

    Raises:
        DatasetError: if the disk is full, or a file is damaged.
    """
    recover(folder, wait=False)
    if isinstance(failure, EnvironmentFailure) and failure.doing == RECORDING and failure.seed is not None:
        failures = _failures(folder)
        failures.setdefault(failure.seed, []).append(str(failure))
        if len(failures[failure.seed]) == ATTEMPTS:
            logger.warning("%s: the episode of seed %d is left out from now on", folder.name, failure.seed)
        try:
            save_json({str(seed): messages for seed, messages in failures.items()}, folder / FAILED)
        except OSError as error:
            raise DatasetError(f"{failure}; writing {folder / FAILED} failed, too ({error}).") from error


def next_seed(first: int, episodes: int, skipped: Collection[int]) -> int:
    """Seed of the next episode.

    Args:
        first: seed of the first episode.
        episodes: number of episodes that are stored.
        skipped: seeds of episodes that are left out.
    """
    seed = first + episodes
    for other in sorted(skipped):
        seed += first <= other <= seed
    return seed


def _failures(folder: Path) -> dict[int, list[str]]:
    """Messages by the seed of the episode."""
    path = folder / FAILED
    if not path.exists():
        return {}
    try:
        return {int(seed): list(messages) for seed, messages in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is damaged ({error}); remove it.") from error
