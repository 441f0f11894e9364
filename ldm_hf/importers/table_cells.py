"""Cells of a log as numbers, choices and texts; a cell that cannot be read is an error that names its row.

Rows are counted from 1, without the header.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NoReturn

import gymnasium
import numpy as np
import pandas as pd
from gymnasium import spaces

from ..errors import DatasetError
from .table_columns import PREVIOUS, REFUSE, End, Entry

MOST_VALUES = 1000  # more different strings are no choice
SINGLE = 2**24  # from here on, single precision rounds whole numbers
TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "1.0": True, "0.0": False}


def refuse(place: str, row: int, problem: str) -> NoReturn:
    """Raises the error about a cell; ``row`` counts from 0."""
    raise DatasetError(f"{place}: row {row + 1}: {problem}")


def read_entry(
    entry: Entry, table: pd.DataFrame, episodes: np.ndarray, role: str, place: str
) -> tuple[gymnasium.Space[object], np.ndarray, Entry]:
    """The space and the values of one part.

    Args:
        entry: what the YAML says of the part.
        table: rows in the order of the steps; their index is their number in the file.
        episodes: number of the episode of each row ``(N,)``, increasing.
        role: observation, action or reward.
        place: name of the part, for messages.

    Returns:
        The space, values ``(N, *shape)`` (Text as objects), and the entry with what was found out about its values.

    Raises:
        DatasetError: names the row.
    """
    filled = [_filled(table[name], entry, episodes, f"{place}: column {name}") for name in entry.columns]
    if entry.text:
        if len(filled) > 1:
            raise DatasetError(f"{place}: text comes from one column, not {len(filled)}.")
        texts = filled[0].astype(str).to_numpy(dtype=object)
        characters = "".join(sorted(set().union(*texts)))
        return spaces.Text(max(1, *map(len, texts)), min_length=0, charset=characters or " "), texts, entry
    if entry.values is None:
        entry = replace(entry, values=_found_values(filled, entry, place))
    if entry.values is not None:
        codes = np.stack([_codes(column, entry.values, place) for column in filled], axis=1)
        if len(filled) == 1:
            return spaces.Discrete(len(entry.values)), codes[:, 0], entry
        return spaces.MultiDiscrete([len(entry.values)] * len(filled)), codes, entry
    numbers = np.stack([_numbers(column, entry, place) for column in filled], axis=1)
    whole = all(pd.api.types.is_integer_dtype(column) for column in filled) and entry.scale == 1 and entry.offset == 0
    return (*_box(numbers, whole, table.index.to_numpy(), entry, role, place), entry)


def read_end(end: End, column: pd.Series, place: str) -> np.ndarray:
    """Whether an episode ends with each row ``(N,)``; an empty cell says no."""
    texts = _texts(column)
    if end.values is not None:
        return np.isin(texts, np.array(end.values, dtype=object))
    empty = column.isna().to_numpy() | (texts == "")
    for row in np.flatnonzero(
        [not gone and text.lower() not in TRUTH for text, gone in zip(texts, empty, strict=True)]
    ):
        refuse(
            f"{place}: column {end.column}",
            int(column.index[row]),
            f"{texts[row]!r} is neither true nor false; "
            f"say which values end an episode: {{column: {end.column}, values: [...]}}",
        )
    return np.array([not gone and TRUTH[text.lower()] for text, gone in zip(texts, empty, strict=True)], bool)


def _texts(column: pd.Series) -> np.ndarray:
    """Cells as stripped strings, whole numbers without a decimal point, truth values in small letters."""
    if pd.api.types.is_bool_dtype(column):
        texts: np.ndarray = column.map({True: "true", False: "false"}).to_numpy(dtype=object)
        return texts
    if pd.api.types.is_float_dtype(column):
        return np.array([str(int(x)) if np.isfinite(x) and x == int(x) else str(x) for x in column], dtype=object)
    # with empty cells among them, truth values are objects
    return np.array([str(x).lower() if isinstance(x, bool) else str(x).strip() for x in column], dtype=object)


def _filled(column: pd.Series, entry: Entry, episodes: np.ndarray, place: str) -> pd.Series:
    """The column without empty cells: they are filled by what the YAML says they mean, or refused."""
    empty = column.isna() | (
        column.astype(str).str.strip() == ""
        if column.dtype == object or pd.api.types.is_string_dtype(column)
        else False
    )
    if not empty.any():
        return column
    if entry.missing == PREVIOUS:
        column = column.mask(empty).groupby(episodes).ffill()
        empty = column.isna()
    elif entry.missing != REFUSE:
        value: str | float = entry.missing
        if pd.api.types.is_numeric_dtype(column):
            try:
                value = float(value)
            except ValueError as error:
                raise DatasetError(f"{place} holds numbers; missing: {value!r} is none.") from error
        return column.mask(empty, value)
    if empty.any():
        first = " at the beginning of an episode" if entry.missing == PREVIOUS else ""
        refuse(
            place,
            int(column.index[empty.to_numpy()][0]),
            f"the cell is empty{first} ({int(empty.sum())} such rows). "
            "Say what that means (missing: previous, or a value), or remove these rows",
        )
    return column


def _found_values(columns: list[pd.Series], entry: Entry, place: str) -> tuple[str, ...] | None:
    """The values of a choice, sorted; None if the cells could be numbers."""
    if entry.unit or not all(_is_choice(column) for column in columns):
        return None
    found = sorted(set().union(*(_texts(column) for column in columns)))
    if len(found) > MOST_VALUES:
        raise DatasetError(
            f"{place} has {len(found):,} different strings; say `text: true` if they are texts, "
            "or leave the column out."
        )
    return tuple(found)


def _is_choice(column: pd.Series) -> bool:
    """Whether a column is a choice: it holds truth values, or strings of which none is a number."""
    if pd.api.types.is_bool_dtype(column):
        return True
    if pd.api.types.is_numeric_dtype(column):
        return False
    return bool(pd.to_numeric(pd.Series(_texts(column)), errors="coerce").isna().all())


def _codes(column: pd.Series, values: tuple[str, ...], place: str) -> np.ndarray:
    """The number of each cell among the values of a choice."""
    texts, wanted = _texts(column), values
    if pd.api.types.is_bool_dtype(column):
        wanted = tuple(value.lower() for value in values)
    codes: np.ndarray = pd.Categorical(texts, categories=pd.Index(wanted, dtype=object)).codes.astype(np.int64)
    for row in np.flatnonzero(codes < 0):
        refuse(
            f"{place}: column {column.name}", int(column.index[row]), f"{texts[row]!r} is none of {', '.join(values)}"
        )
    return codes


def _numbers(column: pd.Series, entry: Entry, place: str) -> np.ndarray:
    """The numbers of a column as float64, converted by scale and offset."""
    if pd.api.types.is_numeric_dtype(column):
        numbers: np.ndarray = column.to_numpy(np.float64)
        texts = None
    else:
        texts = pd.Series(_texts(column))
        bare = texts.str.replace(rf"\s*{re.escape(entry.unit)}$", "", regex=True) if entry.unit else texts
        numbers = pd.to_numeric(bare, errors="coerce").to_numpy(np.float64)
    for row in np.flatnonzero(~np.isfinite(numbers)):
        cell = repr(texts[row]) if texts is not None else str(numbers[row])
        cure = (
            f"; numbers may be written with the unit {entry.unit} only"
            if entry.unit
            else "; if it has a unit, name it (unit: kW), if it is a choice, list the values"
        )
        refuse(f"{place}: column {column.name}", int(column.index[row]), f"{cell} is no finite number{cure}")
    return numbers * entry.scale + entry.offset


def _box(
    numbers: np.ndarray, whole: bool, rows: np.ndarray, entry: Entry, role: str, place: str
) -> tuple[spaces.Box, np.ndarray]:
    """A Box for numbers, and the numbers in its type.

    Args:
        numbers: values ``(N, columns)``.
        whole: whether they are whole numbers.
        rows: numbers of the rows in the file ``(N,)``.
        entry: what the YAML says of the part.
        role: observation, action or reward.
        place: name of the part, for messages.
    """
    dtype: type[np.number]
    low = -np.inf if entry.low is None else entry.low
    high = np.inf if entry.high is None else entry.high
    for row, column in np.argwhere((numbers < low) | (numbers > high)):
        refuse(
            f"{place}: column {entry.columns[column]}",
            int(rows[row]),
            f"{numbers[row, column]:g} is outside of {low:g} to {high:g}",
        )
    if role == "action":
        if whole and (entry.low is None or entry.high is None):
            raise DatasetError(
                f"{place} holds whole numbers: are they choices (values: [0, 1, 2]) or an amount (low: 0, high: 2)?"
            )
        lows = numbers.min(axis=0) if entry.low is None else np.full(numbers.shape[1], entry.low)
        highs = numbers.max(axis=0) if entry.high is None else np.full(numbers.shape[1], entry.high)
        dtype = np.int64 if whole else np.float32
        return spaces.Box(lows.astype(dtype), highs.astype(dtype), (numbers.shape[1],), dtype), numbers.astype(dtype)
    dtype = np.float64 if np.abs(numbers).max() >= SINGLE else np.float32
    return spaces.Box(low, high, (numbers.shape[1],), dtype), numbers.astype(dtype)
