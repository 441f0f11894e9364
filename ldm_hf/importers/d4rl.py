"""HDF5 files of D4RL (Fu et al. 2020, arXiv 2004.07219).

They hold flat arrays ``observations``, ``actions``, ``rewards``, ``terminals`` and, in most files, ``timeouts``; some
have ``next_observations``. Observations and actions may be groups of arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import DatasetError, MissingExtraError
from .arrays import flags, vector
from .base import LoggedEpisode, Source, Spaces, existing, logged_episode, reading
from .identity import file_digest
from .inference import infer_spaces

NEEDED = ("observations", "actions", "rewards", "terminals")
REFUSE, EACH, DROP = "refuse", "each", "drop"
MOST_JUMPS = (
    0.5  # a larger share of steps after which the state jumps says that `next_observations` are something else
)

Tree = np.ndarray | dict[str, "Tree"]
"""An array, or the parts of a group."""


class D4RLSource(Source):
    """Episodes of a D4RL file; its arrays are read into memory as a whole.

    Episodes end at ``terminals`` and ``timeouts``, and wherever the next observation is not that of the following step.

    Args:
        source: path of the ``.hdf5`` file.
        spaces: observation and action space; found in the data by default.
        repeated_ends: what steps are that follow a terminal and are terminals, too: ``each`` an episode of one step, a
            rest to ``drop``, or to ``refuse``.
        bad_episodes: ``refuse`` an episode that cannot be read while the spaces are looked for, or ``skip`` it.

    Raises:
        MissingExtraError: if h5py is not installed.
        DatasetError: if the file is damaged or lacks an array.
    """

    def __init__(
        self,
        source: str,
        spaces: Spaces | None = None,
        repeated_ends: str = REFUSE,
        bad_episodes: str = REFUSE,
    ) -> None:
        try:
            import h5py
        except ImportError as error:
            raise MissingExtraError("h5py", "import") from error
        if repeated_ends not in (REFUSE, EACH, DROP):
            raise DatasetError(f"repeated_ends should be {REFUSE}, {EACH} or {DROP}, is {repeated_ends!r}.")
        self.path = existing(source)
        try:
            with h5py.File(self.path) as file:
                missing = [name for name in NEEDED if name not in file]
                if missing:
                    raise DatasetError(f"{self.path} lacks the arrays {missing}; it has {sorted(file)}.")
                names = (*NEEDED, *(name for name in ("timeouts", "next_observations") if name in file))
                arrays = {name: _tree(file[name], f"{self.path}: {name}") for name in names}
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{self.path} is damaged or no HDF5 file ({error}).") from error
        lengths = {name: length for name, tree in arrays.items() for length in _lengths(tree)}
        if len({length for tree in arrays.values() for length in _lengths(tree)}) > 1:
            raise DatasetError(f"{self.path} has arrays of different lengths: {lengths}.")
        self.observations, self.actions = arrays["observations"], arrays["actions"]
        with reading(str(self.path)):
            self.rewards = vector(arrays["rewards"], f"{self.path}: rewards")
            self.terminals = flags(arrays["terminals"], f"{self.path}: terminals")
            timeouts = flags(arrays["timeouts"], f"{self.path}: timeouts") if "timeouts" in arrays else None
        following = arrays.get("next_observations")
        self._leave_out_rests(repeated_ends, timeouts)
        done = self._ends(timeouts, following)
        self.starts = np.unique(np.concatenate([[0], np.flatnonzero(done) + 1, [len(done)]]))
        self.kept = self._kept[self.starts[:-1]]
        self.bounds = np.stack([self.starts[:-1], self.starts[1:]], axis=1)[self.kept]
        self.num_episodes = len(self.bounds)
        self.description = {"name": self.path.stem}
        self.origin = {"files": {self.path.name: file_digest(self.path)}}
        if repeated_ends != REFUSE:
            self.origin["repeated_ends"] = repeated_ends
        skipped = self.report.skipped if bad_episodes == "skip" else None
        self.observation_space, self.action_space = spaces or infer_spaces(
            self._read, self.num_episodes, str(self.path), skipped
        )

    def _leave_out_rests(self, repeated_ends: str, timeouts: np.ndarray | None) -> None:
        """Finds terminals right behind a terminal, which stay on or are episodes of one step."""
        ended = self.terminals if timeouts is None else self.terminals | timeouts
        repeated = np.append(False, self.terminals[1:] & ended[:-1])
        self._kept = np.ones(len(repeated), bool)
        if not repeated.any() or self.terminals.all() or repeated_ends == EACH:
            return
        if repeated_ends == REFUSE:
            raise DatasetError(
                f"{self.path}: step {int(np.argmax(repeated))} is a terminal behind an end ({int(repeated.sum())} "
                "such steps); is each an episode of one step (--repeated-ends each), or does the flag stay on (drop)?"
            )
        self._kept = ~repeated
        self.report.notes.append(f"terminals stay on: {int(repeated.sum()):,} steps behind an end are left out")

    def _ends(self, timeouts: np.ndarray | None, following: Tree | None) -> np.ndarray:
        """Whether each step is the last of its episode ``(N,)``."""
        done: np.ndarray = self.terminals if timeouts is None else self.terminals | timeouts
        if following is None:
            if timeouts is None:
                self.report.notes.append("neither timeouts nor next_observations: episodes end at terminals only")
            return done
        jumps = np.append(_jumps(following, self.observations, str(self.path)), False) & ~done
        if len(done) > 2 and jumps.sum() > MOST_JUMPS * len(done):
            raise DatasetError(
                f"{self.path}: next_observations differs from the observation that follows in {int(jumps.sum()):,} "
                f"of {len(done):,} steps, so that it cannot tell where episodes end; repair it, or leave it out "
                "and give timeouts."
            )
        if timeouts is not None and jumps.any():
            self.report.notes.append(
                f"{int(jumps.sum()):,} ends that timeouts do not mark, found where next_observations jumps "
                f"(first after step {int(np.argmax(jumps))})"
            )
        return np.asarray(done | jumps)

    def _read(self, number: int) -> LoggedEpisode:
        """One episode."""
        part = slice(*self.bounds[number])
        return logged_episode(
            _cut(self.observations, part),
            _cut(self.actions, part),
            self.rewards[part],
            terminated=bool(self.terminals[part.stop - 1]),
        )

    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on."""
        for number in range(start, self.num_episodes):
            yield self._read(number)


def _tree(node: Any, where: str) -> Tree:
    """An array of a file, or a group of arrays."""
    if hasattr(node, "keys"):
        if not len(node):
            raise DatasetError(f"{where} is an empty group.")
        return {name: _tree(node[name], f"{where}.{name}") for name in node}
    values = np.asarray(node[()])
    if not values.ndim:
        raise DatasetError(f"{where} is one value instead of one a step.")
    if values.dtype.kind in "SO":
        try:
            return np.array([value if isinstance(value, str) else value.decode() for value in values], dtype=object)
        except (AttributeError, UnicodeDecodeError) as error:
            raise DatasetError(f"{where} holds neither numbers nor texts.") from error
    return values


def _lengths(tree: Tree) -> list[int]:
    """The lengths of all arrays."""
    return [length for part in tree.values() for length in _lengths(part)] if isinstance(tree, dict) else [len(tree)]


def _cut(tree: Tree, part: slice) -> Tree:
    """Some steps of all arrays."""
    return {name: _cut(child, part) for name, child in tree.items()} if isinstance(tree, dict) else tree[part]


def _jumps(following: Tree, observations: Tree, where: str) -> np.ndarray:
    """Whether the next observation is not that of the following step ``(N - 1,)``.

    They are compared in the lower precision of both, and NaN is equal to NaN.
    """
    if isinstance(following, dict) or isinstance(observations, dict):
        if (
            not isinstance(following, dict)
            or not isinstance(observations, dict)
            or following.keys() != observations.keys()
        ):
            raise DatasetError(f"{where}: next_observations has other parts than observations.")
        found = [_jumps(following[name], observations[name], f"{where}.{name}") for name in observations]
        return np.asarray(np.any(found, axis=0))
    if following.shape != observations.shape:
        raise DatasetError(
            f"{where}: next_observations has shape {following.shape}, observations {observations.shape}."
        )
    if following.dtype.kind == "f" and observations.dtype.kind == "f":
        lower = min(following.dtype, observations.dtype, key=lambda dtype: dtype.itemsize)
        with np.errstate(over="ignore"):
            following, observations = following.astype(lower), observations.astype(lower)
        equal = (following[:-1] == observations[1:]) | (np.isnan(following[:-1]) & np.isnan(observations[1:]))
    else:
        equal = following[:-1] == observations[1:]
    return np.asarray(~np.asarray(equal).reshape(len(following) - 1, -1).all(axis=1))
