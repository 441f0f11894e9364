"""Operational logs: files of rows or a pandas table, and a small YAML that says which column is what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypedDict, cast

import gymnasium
import numpy as np
import pandas as pd
from gymnasium import spaces

from ..errors import DatasetError
from .base import LoggedEpisode, Source
from .identity import file_digest, value_identity
from .report import ColumnReport
from .table_cells import Cells, Notation
from .table_columns import DROP, EACH, REFUSE, SAME, Layout, Yaml, load_columns, read_layout, signs_of
from .table_files import Dialect, TableFiles
from .table_parts import Part, read_end
from .table_rows import Table
from .table_store import Scratch, Values
from .table_times import Times

Parts = Values | dict[str, Values]
"""The values of all rows, or of each part of a Dict."""


class TableSource(Source):
    """A table with one row a step. Memory holds one of its columns at a time, and what tells the order of the rows.

    Rows of several entities may be mixed, and in any order if there is a time. One column that is the whole action (or
    observation) is the space itself; several make a Dict. A number is a Box of one element, a string or truth value a
    Discrete whose numbers follow the order of ``values``, which ``environment.json`` records.

    Args:
        source: ``.csv``, ``.tsv``, ``.txt`` (also with ``.gz``) or ``.parquet``; a folder, pattern or list of such
            files with the same columns; or a pandas table.
        columns: YAML file that says which column is what, see `Layout`, or its content.

    Raises:
        DatasetError: if a key of the YAML or a cell cannot be used; names the key, or the row, counted from 1 without
            the header.
    """

    groups: np.ndarray  # number of the entity and episode of each row, in the order of the steps
    dated: bool  # whether times are nanoseconds

    def __init__(
        self, source: str | Path | Sequence[str | Path] | pd.DataFrame, columns: str | Path | Mapping[str, object]
    ) -> None:
        data, place = load_columns(columns)
        signs = signs_of(data, place)
        files = TableFiles(source, Dialect(signs.get("separator"), signs.get("encoding")))
        layout = read_layout(data, place, files.names)
        table = Table(files, files.read(layout.used), layout.decimal)
        if not len(table):
            raise DatasetError(f"{place}: the table has no rows.")
        notation = Notation(layout.decimal, layout.thousands)
        try:
            digests = {path.name: file_digest(path) for path in files.paths} or {
                "table": _identity(table, layout.used)
            }
            times = _ordered(table, layout, self)
            self.terminated, self.truncated = (
                read_end(end, table(end.column), notation) if end else np.zeros(len(table), bool)
                for end in (layout.terminated, layout.truncated)
            )
        except DatasetError as error:
            raise DatasetError(f"{place}: {error}") from error
        kept = self._without_repeats(layout, table)
        if not kept.all():
            rows = np.flatnonzero(kept)
            table.arrange(rows)
            times = times[rows] if times is not None else None
            self.groups, self.terminated, self.truncated = (
                values[kept] for values in (self.groups, self.terminated, self.truncated)
            )
        begins = _begins(table, times, layout, self.groups, self.terminated | self.truncated, self.dated)
        self.starts = np.append(np.flatnonzero(begins), len(begins))
        self.num_episodes = len(self.starts) - 1
        self.told = _told(table, times, layout, self.starts[:-1], self.dated)
        del self.groups, times
        self.truncated |= np.append(begins[1:], True) & ~self.terminated
        episodes = np.cumsum(begins, dtype=np.int32) - 1
        scratch = Scratch()
        read = {
            role: {
                name: Part(entry, table, episodes, role, f"{place}: {role}.{name}", notation, scratch)
                for name, entry in entries.items()
            }
            for role, entries in (("observation", layout.observation), ("action", layout.action))
        }
        self.observation_space, self.observation = _joined(read["observation"])
        self.action_space, self.action = _joined(read["action"])
        parts = [part for role in read.values() for part in role.values()]
        self.reward: Values = np.zeros((len(begins), 1), np.float32)
        if layout.reward:
            if len(layout.reward.columns) != 1:
                raise DatasetError(f"{place}: the reward comes from one column.")
            parts.append(Part(layout.reward, table, episodes, "reward", f"{place}: reward", notation, scratch))
            self.reward = parts[-1].values
        self.report.columns += [report for part in parts for report in part.reports]
        self.report.notes += files.notes
        found = {role: {name: part.entry for name, part in found.items()} for role, found in read.items()}
        layout = replace(layout, observation=found["observation"], action=found["action"])
        self.description = {
            "name": layout.name,
            "task": layout.task,
            "domain": layout.domain,
            "licence": layout.licence,
        }
        self.origin = {"files": digests, "rows": table.total, "columns": _plain(asdict(layout))}

    def _without_repeats(self, layout: Layout, table: Table) -> np.ndarray:
        """The rows that stay ``(N,)``, where a flag of an end stays on in the rows behind it.

        Raises:
            DatasetError: unless the YAML says what such rows are.
        """
        kept = np.ones(len(self.groups), bool)
        for end, flags in ((layout.terminated, self.terminated), (layout.truncated, self.truncated)):
            repeated = np.zeros(len(flags), bool)
            repeated[1:] = flags[1:] & flags[:-1] & (self.groups[1:] == self.groups[:-1])
            if end is None or end.repeated == EACH or not repeated.any() or flags.all():
                continue
            if end.repeated == REFUSE:
                column, row = table(end.column), int(np.argmax(repeated))
                raise DatasetError(
                    f"{layout.place}: column {end.column}: {column.places(row)} is an end again, right behind one "
                    f"({int(repeated.sum())} such rows); say whether each is an episode of one step or a rest to leave "
                    f"out (end: {{terminated: {{column: {end.column}, repeated: each}}}}, or repeated: drop)."
                )
            assert end.repeated == DROP
            kept &= ~repeated
            self.report.notes.append(f"{end.column} stays on: {int(repeated.sum()):,} rows behind an end are left out")
        return kept

    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on."""
        for number in range(start, self.num_episodes):
            part = slice(*self.starts[number : number + 2])
            episode: LoggedEpisode = {
                "observation": _cut(self.observation, part),
                "action": _cut(self.action, part),
                "reward": self.reward[part][:, 0],
                "terminated": self.terminated[part],
                "truncated": self.truncated[part],
            }
            yield cast(LoggedEpisode, {**episode, **self.told[number]})


def _identity(table: Table, names: Sequence[str]) -> str:
    """What identifies a table that is in no file."""
    return value_identity([[column.content(), column.empty] for column in map(table, names)])


def _joint(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A number for each different pair of numbers from 0 on ``(N,)``, in the order in which they appear."""
    pairs = first.astype(np.int64) * (int(second.max()) + 1) + second
    return np.asarray(pd.factorize(pairs)[0])


def _codes(table: Table, names: Sequence[str]) -> np.ndarray:
    """A number for each different combination of cells ``(N,)``, in the order in which they appear."""
    codes: np.ndarray | None = None
    for name in names:
        column = table(name)
        column.refuse_first(column.empty, "the cell is empty; it says where the row belongs")
        codes = column.keys() if codes is None else _joint(codes, column.keys())
    return np.zeros(len(table), np.int64) if codes is None else codes


def _ordered(table: Table, layout: Layout, source: TableSource) -> np.ndarray | None:
    """Sorts the rows by entity, episode and time; returns the times in that order."""
    entity = _codes(table, layout.entity)
    times = Times([table(name) for name in layout.time], layout) if layout.time else None
    source.dated = times is not None and times.dated
    values = times.values if times is not None else np.arange(len(table))
    source.report.columns += [times.report] if times is not None else []
    source.report.columns += [_listed(table(name), "entity") for name in layout.entity]
    order = np.lexsort((values, entity))
    groups = entity
    if layout.episode:
        column = table(layout.episode)
        source.report.columns.append(_listed(column, "episode"))
        pairs = _joint(entity, _codes(table, [layout.episode]))
        groups = pairs
        if layout.again == SAME:  # by their beginning: an episode is one piece even if another began meanwhile
            began = pd.Series(values).groupby(pairs, sort=False).transform("min").to_numpy()
            order = np.lexsort((values, pairs, began, entity))
        else:
            in_order = pairs[order]
            changed = np.append(True, in_order[1:] != in_order[:-1])
            again = changed & pd.Series(in_order).duplicated().to_numpy()
            if layout.again == REFUSE and again.any():
                row = int(order[int(np.argmax(again))])
                column.refuse(
                    row,
                    f"episode {column.shown(row)} comes again behind another ({int(again.sum())} such rows); name the "
                    "column that tells the runs apart (entity), or say what such a number is "
                    f"(episode: {{column: {layout.episode}, again: new}}, or again: same)",
                )
            groups = np.empty(len(order), np.int64)
            groups[order] = np.cumsum(changed)
    source.groups = groups[order]
    table.arrange(order)
    return None if times is None else values[order]


def _listed(column: Cells, role: str) -> ColumnReport:
    """The report of a column that says where rows belong."""
    report = ColumnReport(column.name, role, "words" if column.kind == "text" else column.kind)
    report.see_texts(column.texts())
    return report


def _begins(
    table: Table,
    times: np.ndarray | None,
    layout: Layout,
    groups: np.ndarray,
    over: np.ndarray,
    dated: bool,
) -> np.ndarray:
    """Whether an episode begins with each row ``(N,)``.

    Args:
        table: columns, rows in the order of the steps.
        times: time of each row ``(N,)``.
        layout: what the YAML says.
        groups: number of the entity and episode of each row.
        over: whether an episode ends with each row.
        dated: whether times are nanoseconds.
    """
    changed = groups[1:] != groups[:-1]
    begins = changed | over[:-1]
    if times is not None:
        column = table(layout.time[0])
        place = f"{layout.place}: column {', '.join(layout.time)}: "
        distance = np.diff(times)
        same = (distance == 0) & ~changed
        if same.any():
            row = int(np.argmax(same))
            raise DatasetError(
                f"{place}{column.places(row + 1)}: the same time as in {column.places(row)}; name the entity column, "
                "or remove one of them (in local times an hour comes twice in autumn: name the zone)."
            )
        if layout.step:
            gaps = (distance > 1.5 * _step(layout, dated)) & ~begins
            if layout.gaps == REFUSE and gaps.any():
                row = int(np.argmax(gaps))
                long = pd.Timedelta(int(distance[row])) if dated else distance[row]
                raise DatasetError(
                    f"{place}{column.places(row + 1)}: {long} after {column.places(row)}, the step is {layout.step} "
                    f"({int(gaps.sum())} such gaps); `gaps: split` makes two episodes of it."
                )
            begins |= gaps
    return np.append(True, begins)


class _Told(TypedDict, total=False):
    """What the table says about an episode.

    Attributes:
        entity: the entity's cells, joined by slashes.
        time: time of the first step; a date is written as ISO 8601, in UTC where its zone is known.
    """

    entity: str
    time: str


def _told(table: Table, times: np.ndarray | None, layout: Layout, rows: np.ndarray, dated: bool) -> list[_Told]:
    """What the table says about the episodes that begin with these rows."""
    told: list[_Told] = [{} for _ in rows]
    if layout.entity:
        columns = [table(name).take(rows).texts().to_pylist() for name in layout.entity]
        for episode, cells in zip(told, zip(*columns, strict=True), strict=True):
            episode["entity"] = "/".join(cells)
    if times is not None:
        for episode, time in zip(told, times[rows], strict=True):
            episode["time"] = pd.Timestamp(time).isoformat() if dated else str(time)
    return told


def _step(layout: Layout, dated: bool) -> float:
    """The regular distance of two rows, in the unit of the times."""
    text = layout.step or ""
    kind = "a length of time like 15min" if dated else "a number, as the time is"
    try:
        if dated and text.strip("0123456789.-+ ") == "":
            raise ValueError("without a unit")
        step = float(pd.Timedelta(text).value) if dated else float(text)
    except ValueError as error:
        cure = "" if dated else "; if the time is a date in digits, give its format"
        raise DatasetError(f"{layout.place}: step should be {kind}, is {text!r}{cure}.") from error
    if not 0 < step < np.inf:
        raise DatasetError(f"{layout.place}: step should be above 0, is {text!r}.")
    return step


def _joined(parts: Mapping[str, Part]) -> tuple[gymnasium.Space[object], Parts]:
    """The space and the values of all parts; a single part is the space itself."""
    if len(parts) == 1:
        (part,) = parts.values()
        return part.space, part.values
    return (
        spaces.Dict({name: part.space for name, part in parts.items()}),
        {name: part.values for name, part in parts.items()},
    )


def _cut(values: Parts, part: slice) -> np.ndarray | dict[str, np.ndarray]:
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
