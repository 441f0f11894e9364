"""Operational logs: a CSV, a Parquet file or a pandas table, and a small YAML that says which column is what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from gymnasium import spaces

from ..errors import DatasetError
from .base import LoggedEpisode, Source, existing, file_sizes
from .table_cells import read_end, read_entry, refuse
from .table_columns import REFUSE, Entry, Layout, Yaml, load_columns, read_layout

Values = np.ndarray | dict[str, np.ndarray]
"""The values of all rows ``(N, *shape)``, or of each part of a Dict."""


class TableSource(Source):
    """A table with one row a step. It is read into memory as a whole.

    Rows of several entities may be mixed, and in any order if there is a time. One column that is the whole action (or
    observation) is the space itself; several make a Dict. A number is a Box of one element, a string or truth value a
    Discrete whose numbers follow the order of ``values``, which ``environment.json`` records.

    Args:
        source: ``.csv`` (also ``.csv.gz``), ``.parquet``, or a table.
        columns: YAML file that says which column is what, see `Layout`, or its content.

    Raises:
        DatasetError: if a key of the YAML or a cell cannot be used; names the key, or the row, counted from 1 without
            the header.
    """

    def __init__(self, source: str | Path | pd.DataFrame, columns: str | Path | Mapping[str, object]) -> None:
        table, layout, sizes = _read(source, columns)
        if not len(table):
            raise DatasetError(f"{layout.place}: the table has no rows.")
        try:
            fingerprint = f"{pd.util.hash_pandas_object(table, index=False).sum():016x}"
        except TypeError as error:
            raise DatasetError(f"{layout.place}: a cell should be one number, word or date ({error}).") from error
        table = _ordered(table, layout)
        terminated, truncated = (
            read_end(end, table[end.column], layout.place) if end else np.zeros(len(table), bool)
            for end in (layout.terminated, layout.truncated)
        )
        keys = _keys(layout)
        groups = table.groupby(keys, sort=False).ngroup().to_numpy() if keys else np.zeros(len(table), int)
        begins = _begins(table, layout, groups, terminated | truncated)
        self.starts = np.append(np.flatnonzero(begins), len(table))
        self.num_episodes = len(self.starts) - 1
        last = np.append(begins[1:], True)
        self.terminated, self.truncated = terminated, truncated | (last & ~terminated)
        numbers = np.cumsum(begins) - 1
        self.observation_space, self.observation, observation = _parts(
            layout.observation, table, numbers, "observation", layout.place
        )
        self.action_space, self.action, action = _parts(layout.action, table, numbers, "action", layout.place)
        self.reward, reward = np.zeros(len(table), np.float32), None
        if layout.reward:
            if len(layout.reward.columns) != 1:
                raise DatasetError(f"{layout.place}: the reward comes from one column.")
            _, values, reward = read_entry(layout.reward, table, numbers, "reward", f"{layout.place}: reward")
            if reward.values is not None:
                raise DatasetError(f"{layout.place}: the reward column {reward.columns[0]} holds no numbers.")
            self.reward = values[:, 0]
        layout = replace(layout, observation=observation, action=action, reward=reward)
        self.description = {
            "name": layout.name,
            "task": layout.task,
            "domain": layout.domain,
            "licence": layout.licence,
        }
        self.origin = {
            "files": sizes,
            "rows": len(table),
            "fingerprint": fingerprint,
            "columns": _plain(asdict(layout)),
        }

    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on."""
        for first, last in zip(self.starts[start:-1], self.starts[start + 1 :], strict=True):
            part = slice(first, last)
            yield {
                "observation": _cut(self.observation, part),
                "action": _cut(self.action, part),
                "reward": self.reward[part],
                "terminated": self.terminated[part],
                "truncated": self.truncated[part],
            }


def _read(
    source: str | Path | pd.DataFrame, columns: str | Path | Mapping[str, object]
) -> tuple[pd.DataFrame, Layout, dict[str, int]]:
    """The columns that are used, what the YAML says of them, and the bytes of the file."""
    data, place = load_columns(columns)
    if isinstance(source, pd.DataFrame):
        layout = read_layout(data, place, [str(name) for name in source.columns])
        return source[layout.used].reset_index(drop=True), layout, {}
    path = existing(source)
    try:
        if path.suffix == ".parquet":
            layout = read_layout(data, place, pq.read_schema(path).names)
            table = pq.read_table(path, columns=layout.used).to_pandas()
        elif ".csv" in path.suffixes:
            separator = str(data.get("separator", ","))
            layout = read_layout(data, place, list(pd.read_csv(path, nrows=0, sep=separator).columns))
            table = pd.read_csv(path, usecols=layout.used, sep=separator, decimal=layout.decimal, low_memory=False)
        else:
            raise DatasetError(f"{path} is neither .csv nor .parquet.")
    except (OSError, ValueError, pa.ArrowException) as error:  # pandas' errors of parsing are ValueErrors
        raise DatasetError(
            f"{path} cannot be read ({str(error).strip()}); is it whole, and is the separator right?"
        ) from error
    return table.reset_index(drop=True), layout, file_sizes([path])


def _time(table: pd.DataFrame, layout: Layout) -> pd.Series:
    """The time column as numbers or dates."""
    column = table[layout.time]
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        times = column
    else:
        times = pd.to_datetime(column, errors="coerce", utc=True, format=layout.time_format)
    for row in np.flatnonzero(times.isna()):
        refuse(
            f"{layout.place}: column {layout.time}",
            int(table.index[row]),
            f"{column.iloc[row]!r} is no time like {column.iloc[0]!r}; give the format "
            f"(time: {{column: {layout.time}, format: '%d.%m.%Y %H:%M'}})",
        )
    return times


def _keys(layout: Layout) -> list[str]:
    """Columns whose values change from episode to episode."""
    return [*layout.entity, *([layout.episode] if layout.episode else [])]


def _ordered(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Sorts the rows by entity, episode and time; the index keeps their numbers in the file."""
    keys = _keys(layout)
    for name in keys:
        for row in np.flatnonzero(table[name].isna()):
            refuse(f"{layout.place}: column {name}", int(row), "the cell is empty; it says where the row belongs")
    order = pd.DataFrame(index=table.index)
    if layout.entity:
        order["entity"] = table.groupby(list(layout.entity), sort=False).ngroup()
    if layout.episode and not layout.time:
        order["episode"] = table.groupby(keys, sort=False).ngroup()
    if layout.time:
        order["time"] = _time(table, layout)
        if layout.episode:  # by their beginning: an episode is one piece even if another began before it was over
            order["began"] = order["time"].groupby([table[name] for name in keys], sort=False).transform("min")
            order["episode"] = table.groupby(keys, sort=False).ngroup()
            order = order[[*(["entity"] if layout.entity else []), "began", "episode", "time"]]
    if not len(order.columns):
        return table
    table = table.assign(**{"\x00time": order["time"]}) if layout.time else table
    return table.loc[order.sort_values(list(order.columns), kind="stable").index]


def _begins(table: pd.DataFrame, layout: Layout, groups: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Whether an episode begins with each row ``(N,)``.

    Args:
        table: rows in the order of the steps.
        layout: what the YAML says.
        groups: number of the entity and episode of each row.
        over: whether an episode ends with each row.
    """
    changed = groups[1:] != groups[:-1]
    begins = changed | over[:-1]
    if layout.time:
        place, times, rows = f"{layout.place}: column {layout.time}", table["\x00time"], table.index.to_numpy()
        distance = times.diff().iloc[1:]
        zero = pd.Timedelta(0) if pd.api.types.is_timedelta64_dtype(distance) else 0.0
        for row in np.flatnonzero((distance == zero).to_numpy() & ~changed):
            refuse(
                place,
                int(rows[row + 1]),
                f"the same time as in row {rows[row] + 1}; name the entity column, or remove one of them",
            )
        if layout.step:
            gaps = (distance > 1.5 * _step(layout, distance)).to_numpy() & ~begins
            if layout.gaps == REFUSE and gaps.any():
                first = int(np.flatnonzero(gaps)[0])
                refuse(
                    place,
                    int(rows[first + 1]),
                    f"{distance.iloc[first]} after row {rows[first] + 1}, the step is {layout.step} "
                    f"({int(gaps.sum())} such gaps); `gaps: split` makes two episodes of it",
                )
            begins |= gaps
    return np.concatenate([[True], begins])


def _step(layout: Layout, distance: pd.Series) -> pd.Timedelta | float:
    """The regular distance of two rows, in the type of the distances found."""
    assert layout.step is not None
    dated = pd.api.types.is_timedelta64_dtype(distance)
    try:
        return pd.Timedelta(layout.step) if dated else float(layout.step)
    except ValueError as error:
        kind = "a length of time like 15min" if dated else "a number, as the time is"
        raise DatasetError(f"{layout.place}: step should be {kind}, is {layout.step!r}.") from error


def _parts(
    entries: Mapping[str, Entry], table: pd.DataFrame, episodes: np.ndarray, role: str, place: str
) -> tuple[gymnasium.Space[object], Values, dict[str, Entry]]:
    """Reads the parts of the observation or the action.

    Args:
        entries: what the YAML says of each part.
        table: rows in the order of the steps.
        episodes: number of the episode of each row ``(N,)``.
        role: observation or action.
        place: name of the YAML, for messages.

    Returns:
        The space, the values, and the entries with what was found out about their values.
    """
    read = {
        name: read_entry(entry, table, episodes, role, f"{place}: {role}.{name}") for name, entry in entries.items()
    }
    understood = {name: entry for name, (_, _, entry) in read.items()}
    if len(read) == 1:
        ((space, values, _),) = read.values()
        return space, values, understood
    return (
        spaces.Dict({name: space for name, (space, _, _) in read.items()}),
        {name: values for name, (_, values, _) in read.items()},
        understood,
    )


def _cut(values: Values, part: slice) -> Values:
    """The values of some rows."""
    return {name: child[part] for name, child in values.items()} if isinstance(values, dict) else values[part]


def _plain(value: Yaml) -> Yaml:
    """The layout as JSON, without what the YAML does not say."""
    if isinstance(value, dict):
        said = {
            key: child
            for key, child in value.items()
            if child is not None and child is not False and child not in ("", ())
        }
        return {key: _plain(child) for key, child in said.items() if key != "place"}
    return [_plain(child) for child in value] if isinstance(value, list | tuple) else value
