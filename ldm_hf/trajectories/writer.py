"""Writes episodes as Parquet shards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import DatasetError
from ..spaces import describe_difference
from ..utils.files import unfinished_file
from ..utils.membership import changed_by_cast
from ..utils.names import check_name
from .schema import KNOWN_PER_EPISODE, Column, EnvironmentInfo, Episode, columns

Value = TypeVar("Value", str, int)

SHARD_STEPS = 50_000
SHARD_BYTES = 64 * 2**20
SPACES_KEY = b"ldm_hf.spaces"  # key in the header of a shard: the spaces of its columns
LARGEST = 2**34  # bytes of a row group; an episode may have 2 GiB of observations
SMALL = 1_000  # up to so many episodes, one thread reads a shard faster than several


class TrajectoryWriter:
    """Appends episodes to the config of one environment; use it as a context manager.

    A shard appears under its name only when it is whole and on the disk. A folder that has shards already is continued.

    Args:
        folder: folder of the dataset.
        info: description of the environment.

    Raises:
        DatasetError: if the folder has data of other spaces, or the disk is full; shards written before stay.
    """

    def __init__(self, folder: str | Path, info: EnvironmentInfo) -> None:
        check_name(info.name)
        self.folder, self.info = Path(folder) / info.name, info
        self.columns = columns(*info.spaces)
        if (self.folder / "environment.json").exists():
            for which, old, new in zip(
                ("observation", "action"), EnvironmentInfo.load(self.folder).spaces, info.spaces, strict=True
            ):
                differences = describe_difference(old, new)
                if differences:
                    raise DatasetError(
                        f"{self.folder} holds trajectories of another {which} space ({'; '.join(differences)}). "
                        "Choose another folder, or remove this one to collect again."
                    )
        self._guard(self._save_info)
        self._episodes: list[Episode] = []
        self._steps = self._bytes = 0
        self._failed = False
        # not the number of shards: a damaged one may have been removed
        numbers = [path.stem.split("-")[1] for path in shards(self.folder)]
        self._next = max((int(number) + 1 for number in numbers if number.isdigit()), default=0)

    def write(self, episode: Episode) -> None:
        """Adds one episode.

        Args:
            episode: observation, action, label ``{path: (T, *shape)}``, reward, terminated, truncated ``(T,)``;
                behaviour (str, empty by default) and seed (int, 0 by default); entity and time (str) if known.

        Raises:
            DatasetError: if the episode does not fit the spaces, or the disk is full.
        """
        self._check(episode)
        self._episodes.append(episode)
        self._steps += len(episode["reward"])
        self._bytes += sum(np.asarray(values).nbytes for values in episode["observation"].values())
        if self._steps >= SHARD_STEPS or self._bytes >= SHARD_BYTES:
            self.flush()

    @property
    def unwritten(self) -> list[Episode]:
        """The episodes that are in no shard yet."""
        return list(self._episodes)

    def _check(self, episode: Episode) -> None:
        """Raises a `DatasetError` unless the episode has steps and every column can hold its values unchanged."""
        length = len(episode["reward"])
        if not length:
            raise DatasetError(f"{self.info.name}: an episode without steps cannot be written.")
        for column in self.columns:
            values: Any = episode.get(column.role)
            if column.space is not None:
                values = values.get(column.path) if isinstance(values, Mapping) else None
            found = None if values is None else np.shape(values)
            if found != (length, *column.shape):
                raise DatasetError(
                    f"{self.info.name}: {column.name} of an episode of {length} steps has shape {found}, "
                    f"expected {(length, *column.shape)}."
                )
            self._check_values(column, np.asarray(values))
        seed = episode.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise DatasetError(f"{self.info.name}: the seed of an episode should be a whole number, is {seed!r}.")

    def _check_values(self, column: Column, values: np.ndarray) -> None:
        """Raises a `DatasetError` for a value that would be stored as another one; `validate` finds others."""
        if column.is_text:
            wrong = np.array([not isinstance(text, str) for text in values], bool)
        elif values.dtype.kind not in "biuf":
            wrong = np.ones(len(values), bool)
        else:
            wrong = changed_by_cast(values, column.dtype)
        if wrong.any():
            step = int(np.argmax(wrong))
            kind = column.space if column.space is not None else column.dtype
            raise DatasetError(
                f"{self.info.name}: {column.name}: step {step} is {str(values[step])[:80]}, no member of {kind} "
                f"({int(wrong.sum())} such steps); round or scale the values, or describe the space that they are in."
            )

    def flush(self) -> None:
        """Writes the episodes held so far as one shard."""
        if not self._episodes:
            return
        arrays = {column.name: _list_array(column, self._episodes) for column in self.columns}
        arrays["behaviour"] = pa.array([str(episode.get("behaviour", "")) for episode in self._episodes])
        arrays["seed"] = pa.array([int(episode.get("seed", 0)) for episode in self._episodes], pa.int64())
        for name in KNOWN_PER_EPISODE:
            if any(name in episode for episode in self._episodes):
                arrays[name] = pa.array([str(episode.get(name, "")) for episode in self._episodes])
        path = self.folder / f"train-{self._next:05d}.parquet"
        described = json.dumps([self.info.observation_space, self.info.action_space])
        table = pa.table(arrays).replace_schema_metadata({SPACES_KEY: described})
        self._guard(lambda: _write_table(table, path))
        self._failed = False
        self._next += 1
        self._episodes, self._steps, self._bytes = [], 0, 0

    def _save_info(self) -> None:
        """Writes ``environment.json``, in a new folder if there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.info.save(self.folder)

    def _guard(self, write: Callable[[], None]) -> None:
        """Calls ``write``; an error of the disk names the environment and says what is kept."""
        try:
            write()
        except OSError as error:
            self._failed = True
            kept = f"{len(shards(self.folder))} shard(s) written before are kept"
            raise DatasetError(
                f"{self.info.name}: writing to {self.folder} failed ({error}); {kept}. "
                "Free some space and run it again."
            ) from error

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._failed:  # after a full disk there is no point in trying again
            self.flush()


def shards(folder: Path) -> list[Path]:
    """The Parquet files of a config, in order."""
    return sorted(folder.glob("train-*.parquet"))


def stored(folder: Path) -> tuple[int, int]:
    """Numbers of episodes and steps in the shards of a config; zeros where there are none."""
    rewards = [rewards_of(read_table(path, ["reward"]), path) for path in shards(folder)]
    return sum(len(column) for column in rewards), sum(len(column.flatten()) for column in rewards)


def rewards_of(table: pa.Table, path: Path) -> pa.ListArray:
    """The rewards of a shard, one list an episode.

    Raises:
        DatasetError: if it has none.
    """
    if "reward" not in table.column_names or table["reward"].type != pa.list_(pa.float32()):
        raise DatasetError(f"{path} lacks the column reward, a list of float32 an episode; remove this shard.")
    column: pa.ListArray = table["reward"].combine_chunks()
    if column.null_count:
        raise DatasetError(f"{path}: column reward has missing values; repair or remove this shard.")
    return column


def of_episodes(folder: Path, name: str, default: Value) -> list[Value]:
    """A column with one value an episode; ``default`` where a shard does not have it.

    Args:
        folder: folder of a config.
        name: behaviour, seed, entity or time.
        default: what an episode has without the column.
    """
    found: list[Value] = []
    for path in shards(folder):
        table = read_table(path, [name, "reward"])
        values = table[name].to_pylist() if name in table.column_names else [default] * table.num_rows
        found += [value if isinstance(value, type(default)) else default for value in values]
    return found


def read_table(path: Path, names: list[str] | None = None) -> pa.Table:
    """Reads a shard.

    Args:
        path: path of the shard.
        names: columns to read, as far as the shard has them; all by default.

    Raises:
        DatasetError: if the shard is damaged.
    """
    try:
        # opened once: `pq.read_table` costs several times as much with small files
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_size(path, file.metadata)
            available = file.schema_arrow.names
            chosen = None if names is None else [name for name in names if name in available]
            return file.read(chosen, use_threads=file.metadata.num_rows > SMALL)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            f"the shard {path} is damaged ({error}); remove it or collect this environment again."
        ) from error


def _check_size(path: Path, metadata: pq.FileMetaData) -> None:
    """Raises a `DatasetError` if a shard would take more memory than any that is read."""
    # not column by column: with damaged statistics of a column, pyarrow ends the process
    if (
        max((metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), default=0)
        > LARGEST
    ):
        raise DatasetError(
            f"the shard {path} has more than {LARGEST:,} bytes in one piece; write shorter episodes or smaller images."
        )


def _write_table(table: pa.Table, path: Path) -> None:
    """Writes a shard, whole or not at all; it is on the disk when this returns."""
    with unfinished_file(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)
        file.flush()
        os.fsync(file.fileno())


def _values(column: Column, episode: Mapping[str, Any]) -> np.ndarray:
    """What an episode holds for a column ``(T, *shape)``."""
    return np.asarray(episode[column.role] if column.space is None else episode[column.role][column.path])


def _list_array(column: Column, episodes: list[Episode]) -> pa.Array:
    """A column of a shard: one list for each episode, with one entry for each step."""
    values = [_values(column, episode) for episode in episodes]
    offsets = pa.array(np.concatenate([[0], np.cumsum([len(value) for value in values])]), pa.int32())
    if column.is_text:
        flat = pa.array([text for value in values for text in value], pa.string())
    else:
        joined = np.concatenate([value.astype(column.dtype).reshape(len(value), -1) for value in values])
        scalars = pa.array(
            (joined.view(np.uint8) if joined.dtype == bool and column.space is not None else joined).reshape(-1)
        )
        flat = scalars
        if column.is_bytes:
            ends = np.arange(len(joined) + 1, dtype=np.int32) * column.size
            flat = pa.Array.from_buffers(pa.binary(), len(joined), [None, pa.py_buffer(ends), pa.py_buffer(joined)])
        elif column.shape:
            flat = pa.ListArray.from_arrays(pa.array(np.arange(len(joined) + 1) * column.size, pa.int32()), scalars)
    return pa.ListArray.from_arrays(offsets, flat)
