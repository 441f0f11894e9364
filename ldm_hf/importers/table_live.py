"""Rows that come one at a time, read as the table was when it was imported: for a model at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from gymnasium import spaces

from ..errors import DatasetError
from ..spaces import Action, Observation, Space, space_from_json
from ..trajectories import EnvironmentInfo
from .table_cells import Cells, Notation
from .table_columns import PREVIOUS, Entry
from .table_files import Places
from .table_parts import Part
from .table_store import Scratch

REWARD = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class RowReader:
    """Reads the rows of a table that goes on, and writes actions as its cells.

    Notations, units, values of choices and what an empty cell means are those of the import.

    Args:
        info: description of the environment that was imported, such as ``open_dataset(path)[name].info``.

    Raises:
        DatasetError: if it was not imported from a table.
    """

    def __init__(self, info: EnvironmentInfo) -> None:
        columns = info.collection.get("columns")
        if not isinstance(columns, dict) or "observation" not in columns:
            raise DatasetError(f"{info.name} was not imported from a table, so there are no rows to read as it was.")
        self.name = info.name
        self._observation_space = space_from_json(info.observation_space)
        self._action_space = space_from_json(info.action_space)
        try:
            self._notation = Notation(columns.get("decimal", "."), columns.get("thousands"))
            self._parts = {role: _entries(columns[role]) for role in ("observation", "action")}
            self._reward = _entries({"reward": columns["reward"]})["reward"] if "reward" in columns else None
        except (TypeError, LookupError, AttributeError) as error:
            raise DatasetError(f"what the dataset keeps of the import of {info.name} is damaged: {error!r}") from error
        self._last: dict[str, str] = {}  # the last cell of each column that was not empty

    def observation(self, row: Mapping[str, str]) -> Observation:
        """The observation of a row.

        Args:
            row: cells by column, as texts; the columns of the action and the reward may be missing.

        Raises:
            DatasetError: if a cell is missing or cannot be read; names the column.
        """
        return self._member("observation", self._observation_space, row)

    def action(self, row: Mapping[str, str]) -> Action:
        """The action of a row, what was done there.

        Raises:
            DatasetError: if a cell is missing or cannot be read; names the column.
        """
        return self._member("action", self._action_space, row)

    def _member(self, role: str, space: Space, row: Mapping[str, str]) -> Any:
        entries = self._parts[role]
        if not isinstance(space, spaces.Dict):  # a single part
            ((name, entry),) = entries.items()
            return self._read(entry, row, role, name, space)
        return {name: self._read(entries[name], row, role, name, child) for name, child in space.spaces.items()}

    def reward(self, row: Mapping[str, str]) -> float:
        """The reward of a row, 0 if the import had none.

        Raises:
            DatasetError: if the cell is missing or cannot be read; names the column.
        """
        return 0.0 if self._reward is None else float(self._read(self._reward, row, "reward", "reward", REWARD)[0])

    def cells(self, action: Action) -> dict[str, str]:
        """An action as cells by column: words of choices, numbers in the unit of the table."""
        entries, space = self._parts["action"], self._action_space
        pairs = (
            [(entries[name], action[name]) for name in space.spaces]
            if isinstance(space, spaces.Dict)
            else [(*entries.values(), action)]
        )
        found: dict[str, str] = {}
        for entry, value in pairs:
            members = [value] if isinstance(value, str) else np.asarray(value).reshape(-1).tolist()
            found |= {column: self._cell(entry, member) for column, member in zip(entry.columns, members, strict=True)}
        return found

    def _cell(self, entry: Entry, number: Any) -> str:
        if isinstance(number, str):
            return number
        if entry.values is not None:
            return entry.values[int(number)]
        converted = (number - (entry.offset or 0.0)) / (entry.scale or 1.0) if entry.converts else number
        text = f"{converted:.7g}" if isinstance(converted, float) else str(converted)
        return text.replace(".", self._notation.decimal) + (f" {entry.unit}" if entry.units else "")

    def _read(self, entry: Entry, row: Mapping[str, str], role: str, name: str, space: Space) -> Any:
        """The value of a part in a row."""
        place = f"{self.name}: {role}.{name}"
        absent = [column for column in entry.columns if column not in row]
        if absent:
            raise DatasetError(f"{place}: the row has no column {absent[0]}; it has {', '.join(row)}.")
        columns: dict[str, Cells] = {}
        for title in entry.columns:
            before = [self._last[title]] if entry.missing == PREVIOUS and title in self._last else []
            texts = pa.array([*before, row[title]], pa.large_string())
            columns[title] = Cells(title, texts, Places([("", len(texts))]), self._notation.decimal)
        count = max(map(len, columns.values()))
        columns = {title: column.take(np.arange(count) - count + len(column)) for title, column in columns.items()}
        episodes = np.zeros(count, np.int64)
        part = Part(entry, columns.__getitem__, episodes, role, place, self._notation, Scratch(), space.dtype)
        for title, column in columns.items():
            if not column.empty[-1]:
                self._last[title] = row[title]
        return part.values[-1:][0]


def _entries(parts: Mapping[str, Any]) -> dict[str, Entry]:
    """Entries of the YAML from what the import keeps of them."""
    return {name: Entry(**{key: _frozen(value) for key, value in part.items()}) for name, part in parts.items()}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(child) for child in value) if isinstance(value, list) else value
