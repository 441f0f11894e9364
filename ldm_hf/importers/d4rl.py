"""HDF5 files of D4RL (Fu et al. 2020, arXiv 2004.07219).

They hold flat arrays ``observations``, ``actions``, ``rewards``, ``terminals`` and, in most files, ``timeouts``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import DatasetError, MissingExtraError
from .base import LoggedEpisode, Source, Spaces, existing, file_sizes, logged_episode
from .inference import infer_spaces

NEEDED = ("observations", "actions", "rewards", "terminals")


class D4RLSource(Source):
    """Episodes of a D4RL file; its arrays are read into memory as a whole.

    Episodes end at ``terminals`` and ``timeouts``; without the latter, wherever the next observation is not that of the
    following step.

    Args:
        source: path of the ``.hdf5`` file.
        spaces: observation and action space; found in the data by default.

    Raises:
        MissingExtraError: if h5py is not installed.
        DatasetError: if the file is damaged or lacks an array.
    """

    def __init__(self, source: str, spaces: Spaces | None = None) -> None:
        try:
            import h5py
        except ImportError as error:
            raise MissingExtraError("h5py", "import") from error
        self.path = existing(source)
        try:
            with h5py.File(self.path) as file:
                missing = [name for name in NEEDED if name not in file]
                if missing:
                    raise DatasetError(f"{self.path} lacks the arrays {missing}; it has {sorted(file)}.")
                names = (*NEEDED, *(name for name in ("timeouts", "next_observations") if name in file))
                self.arrays: dict[str, np.ndarray] = {name: file[name][()] for name in names}
        except OSError as error:
            raise DatasetError(f"{self.path} is damaged or no HDF5 file ({error}).") from error
        lengths = {name: len(values) for name, values in self.arrays.items()}
        if len(set(lengths.values())) > 1:
            raise DatasetError(f"{self.path} has arrays of different lengths: {lengths}.")
        self.starts = np.concatenate([[0], np.flatnonzero(self._ends()) + 1, [lengths["rewards"]]])
        self.starts = np.unique(self.starts)
        self.num_episodes = len(self.starts) - 1
        self.description = {"name": self.path.stem}
        self.origin = {"files": file_sizes([self.path])}
        self.observation_space, self.action_space = spaces or infer_spaces(
            (f"{self.path}, episode {number}", self._read(number)) for number in range(self.num_episodes)
        )

    def _ends(self) -> np.ndarray:
        """Whether each step is the last of its episode ``(N,)``."""
        done: np.ndarray = np.asarray(self.arrays["terminals"], bool).reshape(-1)
        if "timeouts" in self.arrays:
            done = done | np.asarray(self.arrays["timeouts"], bool).reshape(-1)
        elif "next_observations" in self.arrays:
            jumps = (self.arrays["next_observations"][:-1] != self.arrays["observations"][1:]).reshape(
                len(done) - 1, -1
            )
            done = done | np.append(jumps.any(axis=1), False)
        return done

    def _read(self, number: int) -> LoggedEpisode:
        """One episode."""
        part = slice(*self.starts[number : number + 2])
        return logged_episode(
            self.arrays["observations"][part],
            self.arrays["actions"][part],
            self.arrays["rewards"][part].reshape(-1),
            terminated=bool(self.arrays["terminals"][part.stop - 1]),
        )

    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on."""
        for number in range(start, self.num_episodes):
            yield self._read(number)
