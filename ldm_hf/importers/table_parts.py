"""The parts of an observation or action, the reward and the ends of episodes, from the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from gymnasium import spaces

from ..errors import DatasetError
from .precision import single_suffices
from .report import ColumnReport
from .table_cells import (
    DATE,
    DURATION,
    LEADING_ZERO,
    LIKE_NUMBERS,
    NO_NUMBER,
    REAL,
    TEXT,
    TRUTH,
    WHOLE,
    Cells,
    Notation,
    lookalike,
)
from .table_columns import PREVIOUS, REFUSE, End, Entry

MOST_VALUES = 1000  # more different strings are no choice
TRUTHS = {"true": "1", "false": "0", "yes": "1", "no": "0"}
EXACT = 2**53  # from here on, double precision rounds whole numbers


class Part:
    """One part of the observation or action, or the reward.

    Args:
        entry: what the YAML says of it.
        columns: its columns, rows in the order of the steps.
        episodes: number of the episode of each row ``(N,)``, increasing.
        role: observation, action or reward.
        place: name of the part, for messages.
        notation: how the table writes numbers.
        dtype: type of the numbers that the cells are; by default the cells decide.

    Attributes:
        space: its space.
        values: ``(N, *shape)``, Text as objects.
        entry: the entry with what was found out about its values.
        reports: how each column was read.

    Raises:
        DatasetError: names the row.
    """

    space: gymnasium.Space[object]
    values: np.ndarray

    def __init__(
        self,
        entry: Entry,
        columns: Sequence[Cells],
        episodes: np.ndarray,
        role: str,
        place: str,
        notation: Notation,
        dtype: np.dtype | None = None,
    ) -> None:
        self.entry, self.columns, self.episodes, self.role, self.place = entry, columns, episodes, role, place
        self._dtype = dtype
        self.notation = replace(notation, unit=entry.unit, units=entry.units)
        self.reports = [ColumnReport(column.name, role, unit=entry.unit or "") for column in columns]
        try:
            self._read()
        except DatasetError as error:
            message = str(error)
            raise DatasetError(message if message.startswith(place) else f"{place}: {message}") from error

    def _read(self) -> None:
        """Decides what the cells are, and reads them."""
        for column in self.columns:
            if self.entry.empty:
                texts = column.texts()
                column.empty = column.empty | _mask(pc.is_in(texts, pa.array(self.entry.empty, texts.type)))
        if self.entry.text:
            self._read_texts()
        elif self.entry.values is not None or self.entry.words or (not self._wants_numbers and self._are_words()):
            self._read_choices()
        else:
            self._read_numbers()

    @property
    def _wants_numbers(self) -> bool:
        """Whether a key says that the cells are numbers."""
        return self.role == "reward" or self.entry.numeric or self._dtype is not None

    # --- what the cells are -----------------------------------------------------------------------------------------

    def _are_words(self) -> bool:
        """Whether the cells of all columns are words; refuses those that only look so."""
        found = [self._is_word_column(column) for column in self.columns]
        if any(found) and not all(found):
            names = [column.name for column, words in zip(self.columns, found, strict=True) if words]
            raise DatasetError(
                f"the columns {', '.join(names)} hold words, the others numbers; make two parts of them."
            )
        return all(found)

    def _is_word_column(self, column: Cells) -> bool:
        if column.kind == DATE:
            column.refuse(
                0, "a date is no part of an observation or action; leave it out, or make a number of it before"
            )
        if column.kind != TEXT:
            return column.kind == TRUTH
        if column.empty.all():
            column.refuse(0, "all cells are empty; leave the column out")
        texts = column.texts()
        missing = _mask(pc.is_in(texts, pa.array(NO_NUMBER, texts.type)))
        there = ~column.empty & ~missing
        if not there.any():
            column.refuse_first(missing, "{} in a column without any other word; list the values, or leave it out")
        numeric = _mask(pc.match_substring_regex(self.notation.bare(texts), self.notation.pattern)) & there
        if numeric.any():
            zeros = numeric & _mask(pc.match_substring_regex(texts, LEADING_ZERO))
            column.refuse_first(
                zeros,
                "{} begins with a zero, as codes do: list the values (or words: true), or say scale: 1 for a number",
            )
            column.refuse_first(there & ~numeric, f"{{}} is no finite number{_cure(column, there & ~numeric)}")
            return False
        alike = _mask(pc.match_substring_regex(texts, LIKE_NUMBERS)) & there
        column.refuse_first(alike, f"{{}} reads like a number in another notation{_cure(column, alike)}")
        return True

    # --- texts and choices ------------------------------------------------------------------------------------------

    def _read_texts(self) -> None:
        """Free texts."""
        if len(self.columns) > 1:
            raise DatasetError(f"text comes from one column, not {len(self.columns)}.")
        texts = self._filled_texts(self.columns[0], self.reports[0])
        characters = "".join(sorted(set().union(*pc.unique(texts).to_pylist())))
        lengths = pc.max(pc.utf8_length(texts)).as_py()
        self.space = spaces.Text(max(1, lengths), min_length=0, charset=characters or " ")
        self.values = np.array(texts.to_pylist(), dtype=object)
        self._told("text", [self.values])

    def _filled_texts(self, column: Cells, report: ColumnReport) -> pa.Array:
        """The cells as texts, empty ones filled by what the YAML says they mean."""
        texts, missing = column.texts(), self.entry.missing
        filled = self._fill_order(column, report)
        if missing in (REFUSE, PREVIOUS):
            return texts.take(pa.array(filled))
        return pc.if_else(pa.array(column.empty), pa.scalar(missing, texts.type), texts)

    def _fill_order(self, column: Cells, report: ColumnReport) -> np.ndarray:
        """The row that each cell is taken from ``(N,)``: its own, or an earlier one of the episode."""
        report.missing = float(column.empty.mean())
        rows, missing = np.arange(len(column)), self.entry.missing
        empty = column.empty
        if missing == PREVIOUS and empty.any():
            rows = np.maximum.accumulate(np.where(empty, -1, rows))
            empty = (rows < 0) | (self.episodes[rows] != self.episodes)
        if missing in (REFUSE, PREVIOUS):
            first = " at the beginning of an episode" if missing == PREVIOUS else ""
            if empty.any():
                row = int(np.argmax(empty))
                column.refuse(
                    row,
                    f"the cell is empty{first} ({int(empty.sum())} such rows). "
                    "Say what that means (missing: previous, or a value), or remove these rows",
                )
        if column.empty.any():
            how = "the previous cell" if missing == PREVIOUS else repr(missing)
            report.notes.append(f"{int(column.empty.sum()):,} empty cells became {how}")
        return rows

    def _read_choices(self) -> None:
        """Choices by their place among the values."""
        filled = [
            self._filled_texts(column, report) for column, report in zip(self.columns, self.reports, strict=True)
        ]
        if self.entry.values is None:
            found = sorted(set().union(*(pc.unique(texts).to_pylist() for texts in filled)))
            if len(found) > MOST_VALUES:
                raise DatasetError(
                    f"{len(found):,} different strings are no choice; say `text: true` if they are texts, "
                    "or leave the column out."
                )
            self.entry = replace(self.entry, values=tuple(found))
        codes = np.stack(
            [
                choice_codes(c, t, self.entry.values or (), self.notation)
                for c, t in zip(self.columns, filled, strict=True)
            ],
            axis=1,
        )
        count = len(self.entry.values or ())
        if len(filled) == 1:
            self.space, self.values = spaces.Discrete(count), codes[:, 0]
        else:
            self.space, self.values = spaces.MultiDiscrete([count] * len(filled)), codes
        self._told(f"one of {count} values", [texts.to_numpy(zero_copy_only=False) for texts in filled])

    # --- numbers ----------------------------------------------------------------------------------------------------

    def _read_numbers(self) -> None:
        """Numbers, converted by scale and offset."""
        read = [self._numbers(column, report) for column, report in zip(self.columns, self.reports, strict=True)]
        single = all(
            column.single or single_suffices(values) for column, values in zip(self.columns, read, strict=True)
        )
        whole = all(values.dtype == np.int64 for values in read) and not self.entry.converts
        numbers = np.stack(read, axis=1) if whole else np.stack([values.astype(np.float64) for values in read], axis=1)
        exact = not whole and [values for values in read if values.dtype == np.int64 and values.size]
        for column, values in zip(self.columns, read, strict=True):
            if exact and values.dtype == np.int64:
                column.refuse_first(
                    np.abs(values.astype(np.float64)) > EXACT,
                    "{} has more digits than a real number holds; leave scale and offset out, or make it a part alone",
                )
        if self.entry.converts:
            numbers = numbers * (self.entry.scale or 1.0) + (self.entry.offset or 0.0)
            for column, values in zip(self.columns, numbers.T, strict=True):
                column.refuse_first(~np.isfinite(values), "{} is beyond all numbers after scale and offset")
            single = single and all(_apart(values) for values in numbers.T)
        self._bound(numbers)
        dtype = self._dtype.type if self._dtype is not None else self._type(numbers, whole, single)
        low, high = self._limits(numbers, dtype)
        self.space = spaces.Box(low, high, (numbers.shape[1],), dtype)
        self.values = numbers.astype(dtype)
        names = {np.int64: "whole numbers", np.float32: "numbers", np.float64: "numbers in double precision"}
        sign = f", decimal sign {self.notation.decimal!r}" if self.notation.decimal != "." else ""
        sign += "".join(f", {unit} times {factor:g}" for unit, factor in self.entry.units if factor != 1)
        self._told(names[dtype] + sign, list(self.values.T))

    def _type(self, numbers: np.ndarray, whole: bool, single: bool) -> type[np.int64 | np.float32 | np.float64]:
        """The type that keeps the numbers."""
        if whole and self.role == "action":
            if self.entry.low is None or self.entry.high is None:
                raise DatasetError(
                    f"{self.place} holds whole numbers: are they choices (values: [0, 1, 2]) "
                    "or an amount (low: 0, high: 2)?"
                )
            if float(self.entry.low).is_integer() and float(self.entry.high).is_integer():
                return np.int64
        if whole and np.abs(numbers.astype(np.float64)).max() > EXACT:
            return np.int64
        return np.float32 if single else np.float64

    def _limits(self, numbers: np.ndarray, dtype: type[np.number]) -> tuple[np.ndarray, np.ndarray]:
        """The bounds of the space: those of the YAML; otherwise none, or those of the data for actions and int64."""
        known = self.role == "action" or dtype == np.int64
        lows = numbers.min(axis=0) if known else np.full(numbers.shape[1], -np.inf)
        highs = numbers.max(axis=0) if known else np.full(numbers.shape[1], np.inf)
        if self.entry.low is not None:
            lows = np.full_like(lows, self.entry.low)
        if self.entry.high is not None:
            highs = np.full_like(highs, self.entry.high)
        return lows.astype(dtype), highs.astype(dtype)

    def _numbers(self, column: Cells, report: ColumnReport) -> np.ndarray:
        """The numbers of a column, whole or real, empty cells filled."""
        numbers = self._typed(column) if column.kind != TEXT else self._parsed(column)
        if column.kind == TEXT and numbers.dtype != np.int64:
            long = self.notation.too_long(column.texts())
            if long:
                report.notes.append(f"{long:,} numbers have more than 17 digits and were rounded to double precision")
        rows = self._fill_order(column, report)
        if self.entry.missing in (REFUSE, PREVIOUS):
            return np.asarray(numbers[rows])
        if not column.empty.any():
            return numbers
        fill = self._fill_value()
        if isinstance(fill, float) and numbers.dtype == np.int64:
            numbers = numbers.astype(np.float64)
        return np.where(column.empty, np.asarray(fill, numbers.dtype), numbers)

    def _fill_value(self) -> int | float:
        """The number that the YAML gives for empty cells, in the notation of the table or of YAML."""
        for notation in (self.notation, Notation()):
            value, valid = notation.numbers(pa.array([self.entry.missing], pa.large_string()))
            if valid[0]:
                return value[0].item()  # type: ignore[no-any-return]
        raise DatasetError(f"column {self.columns[0].name} holds numbers; missing: {self.entry.missing!r} is none.")

    def _typed(self, column: Cells) -> np.ndarray:
        """The numbers of a column that has a type."""
        values = np.asarray(column.values) if column.kind in (WHOLE, REAL) else None
        if self.entry.units:
            column.refuse_first(~column.empty, "{} names no unit; say unit in the place of units")
        if column.kind == DURATION:
            if not self.entry.unit:
                column.refuse_first(
                    ~column.empty, "{} is a duration; name the unit that it becomes a number of (unit: s)"
                )
            values = np.asarray(column.values) / _length(self.entry.unit or "")
        if values is None:
            column.refuse_first(
                ~column.empty, f"{{}} is a {column.kind}, no number; leave low, high, scale and unit out"
            )
            raise DatasetError(f"column {column.name} holds no numbers.")
        column.refuse_first(~np.isfinite(values) & ~column.empty, "{} is no finite number; repair or drop this row")
        return values

    def _parsed(self, column: Cells) -> np.ndarray:
        """The numbers of a column of texts."""
        texts = column.texts()
        column.empty = column.empty | _mask(pc.is_in(texts, pa.array(NO_NUMBER, texts.type)))
        numbers, valid = self.notation.numbers(texts)
        wrong = ~valid & ~column.empty
        if wrong.any() and self.role == "reward" and not valid[~column.empty].any():
            row = int(np.argmax(wrong))
            raise DatasetError(
                f"the reward column {column.name} holds no numbers: {column.places(row)}: {column.shown(row)}"
                f"{_cure(column, wrong)}."
            )
        if wrong.any() and self.entry.unit:
            units = [name for name, _ in self.entry.units]
            rule = (
                f"should be written with one of {', '.join(units)}"
                if units
                else (f"may be written with the unit {self.entry.unit} only")
            )
            column.refuse_first(wrong, f"{{}} is no finite number; numbers {rule}")
        column.refuse_first(wrong, f"{{}} is no finite number{_cure(column, wrong)}")
        column.refuse_first(~np.isfinite(numbers), "{} is no finite number; it is beyond the largest double")
        return numbers

    def _bound(self, numbers: np.ndarray) -> None:
        """Refuses numbers outside of the bounds that the YAML gives."""
        low = -np.inf if self.entry.low is None else self.entry.low
        high = np.inf if self.entry.high is None else self.entry.high
        for row, at in np.argwhere((numbers < low) | (numbers > high)):
            self.columns[at].refuse(int(row), f"{numbers[row, at]:g} is outside of {low:g} to {high:g}")

    def _told(self, how: str, columns: Sequence[np.ndarray]) -> None:
        """Fills the reports of the columns."""
        for report, values in zip(self.reports, columns, strict=True):
            report.how = how
            report.see(values)


def read_end(end: End, column: Cells, place: str, notation: Notation) -> np.ndarray:
    """Whether an episode ends with each row ``(N,)``; an empty cell says no.

    Raises:
        DatasetError: if a cell is neither true nor false, and the YAML does not say which values end an episode.
    """
    texts = column.texts()
    if end.values is not None:
        listed = match_values(column, texts, end.values, notation) >= 0
        return np.asarray(listed & ~column.empty)
    small = pc.utf8_lower(texts)
    for word, number in TRUTHS.items():
        small = pc.if_else(pc.equal(small, word), number, small)
    numbers, valid = Notation().numbers(small)
    wrong = ~column.empty & ~(valid & ((numbers == 0) | (numbers == 1)))
    try:
        column.refuse_first(
            wrong,
            "{} is neither true nor false; "
            f"say which values end an episode: {{column: {end.column}, values: [...]}}",
        )
    except DatasetError as error:
        raise DatasetError(f"{place}: {error}") from error
    return np.asarray((numbers == 1) & ~column.empty)


def match_values(column: Cells, texts: pa.Array, values: Sequence[str], notation: Notation) -> np.ndarray:
    """The place of each cell among values ``(N,)``, -1 for none.

    Words are compared letter by letter; where that finds nothing, truth values without regard to capitals, and numbers
    as numbers (0 and 0.0), unless two values are the same number (7 and 007).
    """
    codes = _index(texts, list(values))
    if (codes >= 0).all():
        return codes
    small = [value.lower() for value in values]
    if set(small) <= TRUTHS.keys() and len(set(small)) == len(small):
        codes = np.where(codes < 0, _index(pc.utf8_lower(texts), small), codes)
    numbers, valid = _as_numbers(pa.array(values, pa.large_string()), notation)
    if valid.all() and len(set(numbers.tolist())) == len(values):
        cells, there = _as_numbers(texts, notation)
        same = cells[:, None] == numbers[None, :] if len(values) <= MOST_VALUES else np.zeros((len(cells), 0), bool)
        found = np.where(same.any(axis=1) & there, same.argmax(axis=1), -1) if same.size else np.full(len(cells), -1)
        codes = np.where(codes < 0, found, codes)
    return codes


def choice_codes(column: Cells, texts: pa.Array, values: Sequence[str], notation: Notation) -> np.ndarray:
    """The number of each cell among the values of a choice.

    Raises:
        DatasetError: if a cell is none of them.
    """
    codes = match_values(column, texts, values, notation)
    wrong = codes < 0
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = ", ".join(values) if len(values) <= 20 else f"the {len(values)} values"
        column.refuse(row, f"{texts[row].as_py()!r} is none of {shown}")
    return codes


def _as_numbers(texts: pa.Array, notation: Notation) -> tuple[np.ndarray, np.ndarray]:
    """Cells as numbers, in the table's notation or, where none is one, in that of YAML."""
    numbers, valid = notation.numbers(texts)
    return (numbers, valid) if valid.any() else Notation().numbers(texts)


def _index(texts: pa.Array, values: list[str]) -> np.ndarray:
    """The place of each text in a list ``(N,)``, -1 for none."""
    found = pc.index_in(texts, pa.array(values, texts.type))
    codes: np.ndarray = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _mask(values: pa.Array) -> np.ndarray:
    mask: np.ndarray = np.asarray(values.to_numpy(zero_copy_only=False), bool)
    return mask


def _cure(column: Cells, wrong: np.ndarray) -> str:
    """What could be said about the first wrong cell, for the end of a message."""
    if not wrong.any():
        return ""
    row = int(np.argmax(wrong))
    found = lookalike(column.texts()[row : row + 1])
    silent = " (empty: ['---'] for words that stand for an empty cell)"
    if found is None:
        return f"; if it has a unit, name it (unit: kW), if it is a choice, list the values{silent}"
    return f"; say how it is written ({found}), or list the values if these are choices (values, or words: true)"


def _apart(values: np.ndarray) -> bool:
    """Whether single precision keeps different values different."""
    unique = np.unique(values)
    return bool(np.isfinite(unique.astype(np.float32)).all()) and len(np.unique(unique.astype(np.float32))) == len(
        unique
    )


def _length(unit: str) -> np.timedelta64:
    """One of a unit of time."""
    names = {"d": "D", "day": "D", "days": "D", "h": "h", "min": "m", "s": "s", "ms": "ms", "us": "us", "ns": "ns"}
    if unit not in names:
        raise DatasetError(f"a duration becomes a number of d, h, min, s, ms, us or ns, not of {unit!r}.")
    return np.timedelta64(1, names[unit])  # type: ignore[call-overload, no-any-return]
