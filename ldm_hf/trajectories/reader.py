"""Reads trajectories through memory maps: any slice of steps costs the same, and no dataset has to fit into memory.

The Parquet shards are decoded once into plain ``.npy`` files (one a column, steps one after another), which NumPy maps
without copying.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import DatasetError, UnsupportedSpaceError
from ..observations_ldm import leaf_kind
from ..spaces import Statistics, Steps, describe_difference, space_from_json
from ..statistics_ldm import bounded
from ..utils.files import cache_folder, unfinished_folder
from ..utils.names import check_name
from .images import decode_files, holds_files
from .schema import ROLES, Column, EnvironmentInfo, columns
from .writer import SPACES_KEY, read_table, rewards_of, shards

CACHE_FORMAT = 2
MOST_FILES = 2**16  # a process keeps at most so many files mapped
STATISTICS_STEPS = 200_000  # enough for means and deviations; more would only cost time


class EnvironmentTrajectories:
    """The stream of one environment: all its episodes one after another.

    Args:
        folder: folder of the config.

    Raises:
        DatasetError: if a shard is damaged or does not match the spaces in ``environment.json``; names it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.info = EnvironmentInfo.load(self.folder)
        self.observation_space, self.action_space = self.info.spaces
        self._columns = columns(self.observation_space, self.action_space)
        self._statistics: Statistics | None = None
        decoded = self._decoded()
        _allow_open_files()
        try:
            self._map(decoded)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(f"the cache {decoded} is damaged ({error}); remove it, and try again.") from error

    def _map(self, decoded: Path) -> None:
        """Maps the files of the decoded columns."""
        self.episode_starts: np.ndarray = np.load(decoded / "episodes.npy")
        self._arrays = {
            # A plain array over the map, since slices of np.memmap cost several times as much.
            # A str, since NumPy would resolve a Path.
            column.name: np.asarray(np.load(str(decoded / f"{index}.npy"), mmap_mode="r"))
            for index, column in enumerate(self._columns)
        }
        self._texts = {
            column.name: np.array(json.loads((decoded / f"{index}.json").read_text(encoding="utf-8")), dtype=object)
            for index, column in enumerate(self._columns)
            if column.is_text
        }

    @property
    def columns(self) -> list[Column]:
        """The columns of step data, in the order in which they are stored."""
        return self._columns

    @property
    def num_episodes(self) -> int:
        """Number of episodes in all shards."""
        return len(self.episode_starts) - 1

    @property
    def num_steps(self) -> int:
        """Length of the stream."""
        return int(self.episode_starts[-1])

    def slice(self, start: int, stop: int) -> Steps:
        """Steps ``start`` to ``stop`` of the stream, across the ends of episodes.

        Returns:
            observation, action, label ``{path: (T, *shape)}``; reward, terminated, truncated ``(T,)``.

        Raises:
            IndexError: if these are not steps of the stream.
        """
        if not 0 <= start < stop <= self.num_steps:
            raise IndexError(f"{self.info.name}: steps {start}:{stop} of {self.num_steps}")
        steps: dict[str, Any] = {role: {} for role in ROLES}
        for column in self._columns:
            values = self._arrays[column.name][start:stop]
            if column.is_text:
                values = self._texts[column.name][values]
            if column.space is None:
                steps[column.role] = values
            else:
                steps[column.role][column.path] = values
        return cast(Steps, steps)

    def part(self, start: int, stop: int) -> EnvironmentTrajectories:
        """The stream of the episodes ``start`` to ``stop`` alone, with statistics of its own; no data are copied.

        Raises:
            IndexError: if these are not episodes of the stream.
        """
        if not 0 <= start < stop <= self.num_episodes:
            raise IndexError(f"{self.info.name}: episodes {start}:{stop} of {self.num_episodes}")
        first, last = self.episode_starts[start], self.episode_starts[stop]
        part = copy.copy(self)
        part.episode_starts = self.episode_starts[start : stop + 1] - first
        part._arrays = {name: values[first:last] for name, values in self._arrays.items()}
        part._statistics = None
        return part

    def statistics(self) -> Statistics:
        """Mean and deviation of numeric leaves (flattened scalars) and of the reward, for [`LDMProcessor`][]."""
        if self._statistics is None:
            self._statistics = self._measured()
        return self._statistics

    def _measured(self) -> Statistics:
        """The statistics, from a part of the steps where there are very many."""
        stride = max(1, self.num_steps // STATISTICS_STEPS)
        observation = {}
        for column in self._columns:
            if column.role == "observation" and column.space is not None and leaf_kind(column.space) == "numeric":
                values = bounded(np.asarray(self._arrays[column.name][::stride], np.float64).reshape(-1, column.size))
                observation[column.path] = {"mean": values.mean(0), "std": values.std(0)}
        reward = np.asarray(self._arrays["reward"], np.float64)
        return {"observation": observation, "reward": {"mean": reward.mean(), "std": reward.std()}}

    def episode_returns(self) -> np.ndarray:
        """Sum of rewards of every episode ``(num_episodes,)``."""
        totals = np.concatenate([[0], np.cumsum(self._arrays["reward"], dtype=np.float64)])
        return np.diff(totals[self.episode_starts])

    # --- decoding ---------------------------------------------------------------------------------------------------

    def _decoded(self) -> Path:
        """The folder of decoded columns, made if it is not there yet."""
        files = shards(self.folder)
        if not files:
            raise DatasetError(f"{self.folder} has no train-*.parquet; collect this environment again.")
        try:
            state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        except OSError as error:
            raise DatasetError(f"{self.folder} cannot be read ({error}).") from error
        described = json.dumps([CACHE_FORMAT, state, self.info.observation_space, self.info.action_space])
        # whose name is checked, since it may come from a stranger's dataset
        target = cache_folder() / f"{check_name(self.info.name)}-{hashlib.sha256(described.encode()).hexdigest()[:24]}"
        try:
            if not target.exists():
                with unfinished_folder(target) as unfinished:
                    self._decode(files, unfinished)
        except OSError as error:
            if not os.path.exists(target):  # otherwise another process was faster
                raise DatasetError(
                    f"decoding {self.info.name} into {target.parent} failed ({error}); "
                    "set LDM_HF_CACHE to a disk with space."
                ) from error
        return target

    def _decode(self, files: list[Path], folder: Path) -> None:
        """Writes one file for each column, from all shards."""
        lengths = [np.zeros(0, np.int64)]
        texts: dict[str, dict[str, int]] = {column.name: {} for column in self._columns if column.is_text}
        with ExitStack() as stack:
            out = {  # numbers as file names, since keys of a Dict may hold slashes
                column.name: stack.enter_context(
                    _GrowingArray(
                        folder / f"{index}.npy", *((np.int32, ()) if column.is_text else (column.dtype, column.shape))
                    )
                )
                for index, column in enumerate(self._columns)
            }
            for path in files:
                table = read_table(path)
                self._check(table, path)
                lengths.append(np.diff(rewards_of(table, path).offsets.to_numpy()))
                for column in self._columns:
                    values = _steps(column, table, path, lengths[-1])
                    if column.is_text:
                        codes = texts[column.name]
                        values = np.array([codes.setdefault(text, len(codes)) for text in values], np.int32)
                    out[column.name].append(values)
        starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        if starts[-1] == 0:
            raise DatasetError(
                f"{self.folder} is empty: its shards hold no step; collect or import this environment again."
            )
        np.save(folder / "episodes.npy", starts)
        for index, column in enumerate(self._columns):
            if column.is_text:
                (folder / f"{index}.json").write_text(json.dumps(list(texts[column.name])), encoding="utf-8")

    def _check_spaces(self, table: pa.Table, path: Path) -> None:
        """Compares the spaces in the header of a shard with ours; shards of former versions name none."""
        described = (table.schema.metadata or {}).get(SPACES_KEY)
        if described is None:
            return
        try:
            written = json.loads(described)
            if written == [self.info.observation_space, self.info.action_space]:
                return
            pair = [space_from_json(space) for space in written]
        except (UnsupportedSpaceError, ValueError, TypeError, RecursionError) as error:
            raise DatasetError(f"the header of {path} is damaged ({error}); remove this shard.") from error
        if len(pair) != 2:
            raise DatasetError(f"the header of {path} is damaged ({len(pair)} spaces); remove this shard.")
        expected = (self.observation_space, self.action_space)
        for which, found, space in zip(("observation", "action"), pair, expected, strict=True):
            differences = describe_difference(space, found)
            if differences:
                raise DatasetError(
                    f"{path} was written with another {which} space than environment.json says "
                    f"({'; '.join(differences)}); "
                    "remove this shard, or put environments with other spaces into folders of their own."
                )

    def _check(self, table: pa.Table, path: Path) -> None:
        """Raises a `DatasetError` unless a shard has our spaces and columns."""
        self._check_spaces(table, path)
        expected, names = [column.name for column in self._columns], table.schema.names
        missing = [name for name in expected if name not in names]
        if missing:
            raise DatasetError(
                f"{path} lacks the columns {missing} that {self.info.name} should have; "
                "remove this shard or collect again."
            )
        foreign = [name for name in names if name.split(".")[0] in ROLES and name not in expected]
        if foreign:
            raise DatasetError(
                f"{path} has the columns {foreign}, which are no part of {self.info.name}'s spaces; "
                "is it a shard of another dataset? Remove it."
            )


class _GrowingArray:
    """A ``.npy`` file that is appended to. A new file that is mapped instead kills the process where the disk is full.

    Args:
        path: path of the file.
        dtype: type of the numbers.
        shape: shape of a step.
    """

    def __init__(self, path: Path, dtype: np.dtype | type[np.int32], shape: tuple[int, ...]) -> None:
        self.dtype, self.shape, self.steps = np.dtype(dtype), shape, 0
        self.file = path.open("wb")
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        """Appends steps ``(T, *shape)``."""
        self.file.write(np.ascontiguousarray(values, self.dtype).data)
        self.steps += len(values)

    def _write_header(self) -> None:
        """Writes the header, in which NumPy leaves room for the first number of the shape to grow."""
        described = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.steps, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self.file, described)

    def __enter__(self) -> _GrowingArray:
        return self

    def __exit__(self, *_: object) -> None:
        with self.file:
            self.file.seek(0)
            self._write_header()


@cache
def _allow_open_files() -> None:
    """Lets this process have many open files: a mapped file, one a column, stays open, and the default is 1,024."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(ValueError, OSError):  # macOS allows fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _steps(column: Column, table: pa.Table, path: Path, lengths: np.ndarray) -> np.ndarray:
    """The values of all steps of a shard ``(sum(lengths), *shape)``."""
    array = table[column.name].combine_chunks()
    files = holds_files(column, array.type)
    if array.type not in (column.arrow_type, column.list_type) and not files:
        raise DatasetError(
            f"{path}: column {column.name} has type {array.type}, expected {column.arrow_type} for {column.space}."
        )
    if array.null_count or (flat := array.flatten()).null_count:
        raise DatasetError(f"{path}: column {column.name} has missing values; repair or remove this shard.")
    if not np.array_equal(np.diff(array.offsets.to_numpy()), lengths):
        raise DatasetError(f"{path}: column {column.name} and the rewards have episodes of different lengths.")
    count = int(lengths.sum())
    if column.is_text:
        return np.asarray(flat.to_pylist(), dtype=object)
    if files:
        return decode_files(column, flat, f"{path}: column {column.name}")
    binary = pa.types.is_binary(flat.type)
    if binary or column.shape:
        sizes = pc.binary_length(flat) if binary else pc.list_value_length(flat)
        if not np.array_equal(sizes.to_numpy(zero_copy_only=False), np.full(count, column.size)):
            raise DatasetError(
                f"{path}: column {column.name} has {pc.sum(sizes).as_py() or 0} numbers for {count} steps of shape "
                f"{column.shape}, or they are not spread evenly."
            )
    values = flat.flatten() if column.shape and not binary else flat
    if values.null_count:
        raise DatasetError(f"{path}: column {column.name} has missing values; repair or remove this shard.")
    scalars = _bytes(flat) if binary else values.to_numpy(zero_copy_only=False)
    return scalars.reshape(count, *column.shape)


def _bytes(array: pa.Array) -> np.ndarray:
    """The bytes of all binaries, one after another."""
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, np.uint8)[places[0] : places[-1]]
