"""What an importer is: a source of episodes in somebody else's format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from ..errors import DatasetError

Spaces = tuple[gymnasium.Space, gymnasium.Space]


class Source(ABC):
    """Episodes of one environment, always in the same order, so that an import can go on where it was interrupted.

    Attributes:
        observation_space: of the environment.
        action_space: of the environment.
        num_episodes: that `episodes` yields from 0 on.
        description: what the format tells about the environment: fields of `EnvironmentInfo`, at least ``name``.
        origin: plain JSON values that tell which data this is; an import is only continued with the same.
    """

    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    num_episodes: int
    description: dict[str, Any]
    origin: dict[str, Any]

    @abstractmethod
    def episodes(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Yields the episodes from number ``start`` on.

        Each is a dict: ``observation`` and ``action`` are laid out like members of the spaces with T steps in front (``(T, *shape)`` in every leaf),
        ``reward``, ``terminated``, ``truncated`` are ``(T,)``; ``behaviour`` (who acted) and ``seed`` may be there.

        Raises:
            DatasetError: if the source is damaged; names the episode.
        """


def file_sizes(paths: Iterable[Path]) -> dict[str, int]:
    """Names and bytes of files, for `Source.origin`."""
    return {path.name: path.stat().st_size for path in paths}


def existing(path: str | Path) -> Path:
    """The path of a file or folder.

    Raises:
        DatasetError: if there is none.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise DatasetError(f"there is no {found}.")
    return found


def ends(length: int, terminated: bool, truncated: bool | None = None) -> dict[str, np.ndarray]:
    """The flags of an episode that ends with its last step; one whose end nobody recorded was cut off: truncated."""
    flags = {name: np.zeros(length, bool) for name in ("terminated", "truncated")}
    if length:
        flags["terminated"][-1] = terminated
        flags["truncated"][-1] = not terminated if truncated is None else truncated
    return flags


def done_at_the_end(done: np.ndarray, where: str) -> bool:
    """Whether the last step of an episode is done.

    Raises:
        DatasetError: if another one is, which would be two episodes in one.
    """
    done = np.asarray(done, bool).reshape(-1)
    if done[:-1].any():
        raise DatasetError(
            f"{where}: step {int(np.flatnonzero(done)[0])} of {len(done)} is done already, and the episode goes on; cut it there."
        )
    return bool(len(done) and done[-1])
