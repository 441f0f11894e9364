"""Tables of one row an episode that `datasets` reads: from the Hub, a folder of Parquet or JSON files, or one file."""

from __future__ import annotations

import glob
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from ..errors import DatasetError
from .base import LoggedEpisode, Source, Spaces
from .identity import file_digest, folder_identity, hub_commits
from .inference import infer_spaces

BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}


def open_rows(source: str, config: str | None, split: str) -> datasets.Dataset:
    """Opens a table of episodes; it stays on the disk.

    Raises:
        DatasetError: if there is no such dataset, config or split, or a file is damaged.
    """
    path = Path(source).expanduser()
    try:
        if path.is_file():
            if path.suffix not in BUILDERS:
                raise DatasetError(f"{path} is none of {', '.join(BUILDERS)}.")
            return datasets.load_dataset(BUILDERS[path.suffix], data_files=glob.escape(str(path)), split="train")
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():  # `save_to_disk`
            found = datasets.load_from_disk(str(path))
            return found[split] if isinstance(found, datasets.DatasetDict) else found
        return datasets.load_dataset(source, config, split=split)
    except Exception as error:  # `datasets` lets through whatever its readers raise
        cause = error.__cause__ or error
        raise DatasetError(
            f"{source} cannot be read as rows of episodes ({type(cause).__name__}: {str(cause).strip()[:300]}); "
            f"is the split {split!r} right, and the config?"
        ) from error


def rows_identity(source: str, rows: datasets.Dataset) -> object:
    """What identifies rows: digests of local files, the commits of Hub datasets."""
    path = Path(source).expanduser()
    if path.is_file():
        return {path.name: file_digest(path)}
    if path.is_dir():
        return folder_identity(path)
    return hub_commits(rows.info.download_checksums) or rows._fingerprint


def steps_of(row: pa.Array, where: str) -> np.ndarray:
    """The nested lists of one episode as an array ``(T, *shape)``; ``where`` names the episode in messages.

    Raises:
        DatasetError: if a step is missing or has another length than the others.
    """
    shape, values = [len(row)], row.storage if isinstance(row, pa.ExtensionArray) else row
    if pa.types.is_null(values.type):
        raise DatasetError(f"{where} has {'missing values' if len(values) else 'no steps'}; repair or drop it.")
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        lengths = np.diff(values.offsets.to_numpy())
        if values.null_count or len(set(lengths.tolist())) > 1:
            raise DatasetError(f"{where} has steps that are missing or of different lengths; repair or drop it.")
        shape.append(int(lengths[0]) if len(lengths) else 0)
        values = values.flatten()
    if pa.types.is_fixed_size_list(values.type):
        shape.append(values.type.list_size)
        values = values.flatten()
    if values.null_count:
        raise DatasetError(f"{where} has missing values; repair or drop it.")
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return np.array(values.to_pylist(), dtype=object).reshape(shape)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
        raise DatasetError(f"{where} holds {values.type}, neither numbers nor texts.")
    numbers: np.ndarray = values.to_numpy(zero_copy_only=False)
    return numbers.reshape(shape)


class RowSource(Source):
    """Episodes that are rows of a table.

    Args:
        source: Hub id, folder or file.
        config: name of the config of a dataset that has several.
        split: name of the split.
        spaces: observation and action space; found in the data by default.
        bad_episodes: ``refuse`` an episode that cannot be read while the spaces are looked for, or ``skip`` it.

    Raises:
        DatasetError: if a row cannot be read; names the episode.
    """

    needed: tuple[str, ...] = ()

    def __init__(
        self,
        source: str,
        config: str | None = None,
        split: str = "train",
        spaces: Spaces | None = None,
        bad_episodes: str = "refuse",
    ) -> None:
        self.source = source
        self.rows = open_rows(source, config, split).with_format("arrow")
        missing = [name for name in self.needed if name not in self.rows.column_names]
        if missing:
            raise DatasetError(f"{source} lacks the columns {missing}; it has {self.rows.column_names}.")
        self.num_episodes = len(self.rows)
        name = config or Path(source).stem
        self.description = {"name": name}
        path = Path(source).expanduser()
        self.folder = path if path.is_dir() else path.parent if path.is_file() else None
        self.origin = {
            "source": path.name,
            "config": config,
            "split": split,
            "episodes": len(self.rows),
            "content": rows_identity(source, self.rows),
        }
        skipped = self.report.skipped if bad_episodes == "skip" else None
        self.observation_space, self.action_space = spaces or infer_spaces(self.read, len(self.rows), source, skipped)

    def _where(self, number: int) -> str:
        """Name of an episode, for messages."""
        return f"{self.source}, episode {number}"

    def column(self, number: int, name: str) -> np.ndarray:
        """One column of one episode ``(T, *shape)``."""
        cell = self.rows[number : number + 1][name].combine_chunks()
        if cell.null_count or not (pa.types.is_list(cell.type) or pa.types.is_large_list(cell.type)):
            raise DatasetError(f"{self._where(number)}: {name} is no list of steps; repair or drop it.")
        return steps_of(cell.flatten(), f"{self._where(number)}: {name}")

    @abstractmethod
    def read(self, number: int) -> LoggedEpisode:
        """One episode, as `Source.episodes` yields it."""

    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on."""
        for number in range(start, self.num_episodes):
            yield self.read(number)
