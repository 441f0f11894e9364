"""The parts of an observation or action, the reward and the ends of episodes, from the cells of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from .table_store import NumberColumn, Scratch, Texts, Values, Vectors

MOST_VALUES = 1000  # more different strings are no choice
TRUTHS = {"true": "1", "false": "0", "yes": "1", "no": "0"}
EXACT = 2**53  # from here on, double precision rounds whole numbers


class Part:
    """One part of the observation or action, or the reward.

    Args:
        entry: what the YAML says of it.
        table: gives the cells of a column, rows in the order of the steps.
        episodes: number of the episode of each row ``(N,)``, increasing.
        role: observation, action or reward.
        place: name of the part, for messages.
        notation: how the table writes numbers.
        scratch: where its values are kept.
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
    values: Values

    def __init__(
        self,
        entry: Entry,
        table: Callable[[str], Cells],
        episodes: np.ndarray,
        role: str,
        place: str,
        notation: Notation,
        scratch: Scratch,
        dtype: np.dtype | None = None,
    ) -> None:
        self.entry, self.episodes, self.role, self.place = entry, episodes, role, place
        self._table, self._scratch, self._dtype = table, scratch, dtype
        self.notation = replace(notation, unit=entry.unit, units=entry.units)
        self.reports = [ColumnReport(name, role, unit=entry.unit or "") for name in entry.columns]
        try:
            self._read()
        except DatasetError as error:
            message = str(error)
            raise DatasetError(message if message.startswith(place) else f"{place}: {message}") from error

    def _read(self) -> None:
        """Decides what the cells are, and reads them."""
        if self.entry.text:
            self._read_texts()
        elif self.entry.values is not None or self.entry.words or (not self._wants_numbers and self._are_words()):
            self._read_choices()
        else:
            self._read_numbers()

    def _column(self, name: str) -> Cells:
        """The cells of a column; those that the YAML calls empty are."""
        column = self._table(name)
        if self.entry.empty:
            texts = column.texts()
            column.empty = column.empty | _mask(pc.is_in(texts, pa.array(self.entry.empty, texts.type)))
        return column

    @property
    def _wants_numbers(self) -> bool:
        """Whether a key says that the cells are numbers."""
        return self.role == "reward" or self.entry.numeric or self._dtype is not None

    # --- what the cells are -----------------------------------------------------------------------------------------

    def _are_words(self) -> bool:
        """Whether the cells of all columns are words; refuses those that only look so."""
        found = [self._is_word_column(self._column(name)) for name in self.entry.columns]
        if any(found) and not all(found):
            names = [name for name, words in zip(self.entry.columns, found, strict=True) if words]
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
        if len(self.entry.columns) > 1:
            raise DatasetError(f"text comes from one column, not {len(self.entry.columns)}.")
        texts = self._filled_texts(self._column(self.entry.columns[0]), self.reports[0])
        characters = "".join(sorted(set().union(*pc.unique(texts).to_pylist())))
        lengths = pc.max(pc.utf8_length(texts)).as_py()
        self.space = spaces.Text(max(1, lengths), min_length=0, charset=characters or " ")
        self.values = Texts(texts)
        self.reports[0].how = "text"
        self.reports[0].see_texts(texts)

    def _filled_texts(self, column: Cells, report: ColumnReport) -> pa.Array:
        """The cells as texts, empty ones filled by what the YAML says they mean."""
        texts, missing = column.texts(), self.entry.missing
        rows = self._fill_order(column, report)
        if rows is not None:
            return texts.take(pa.array(rows))
        if not column.empty.any():
            return texts
        return pc.if_else(pa.array(column.empty), pa.scalar(missing, texts.type), texts)

    def _fill_order(self, column: Cells, report: ColumnReport) -> np.ndarray | None:
        """The row that each cell is taken from ``(N,)``, its own or an earlier one of the episode, where some are."""
        report.missing = float(column.empty.mean())
        rows, missing, empty = None, self.entry.missing, column.empty
        if missing == PREVIOUS and empty.any():
            rows = np.maximum.accumulate(np.where(empty, -1, np.arange(len(column))))
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
        if self.entry.values is None:
            self.entry = replace(self.entry, values=self._found_values())
        values, codes = self.entry.values or (), []
        for name, report in zip(self.entry.columns, self.reports, strict=True):
            column = self._column(name)
            texts = self._filled_texts(column, report)
            codes.append(NumberColumn(self._scratch, choice_codes(column, texts, values, self.notation)))
            report.how = f"one of {len(values)} values"
            report.see_texts(texts)
        if len(codes) == 1:
            self.space, self.values = spaces.Discrete(len(values)), codes[0]
        else:
            self.space, self.values = spaces.MultiDiscrete([len(values)] * len(codes)), Vectors(codes, np.int64)

    def _found_values(self) -> tuple[str, ...]:
        """All different words of the columns, and the one that fills empty cells."""
        found: set[str] = set()
        for name in self.entry.columns:
            column = self._column(name)
            found |= set(pc.unique(column.texts().filter(pa.array(~column.empty))).to_pylist())
            if column.empty.any() and self.entry.missing not in (REFUSE, PREVIOUS):
                found.add(self.entry.missing)
        if len(found) > MOST_VALUES:
            raise DatasetError(
                f"{len(found):,} different strings are no choice; say `text: true` if they are texts, "
                "or leave the column out."
            )
        return tuple(sorted(found))

    # --- numbers ----------------------------------------------------------------------------------------------------

    def _read_numbers(self) -> None:
        """Numbers, converted by scale and offset."""
        read, lows, highs, single, whole = [], [], [], True, not self.entry.converts
        for name, report in zip(self.entry.columns, self.reports, strict=True):
            column = self._column(name)
            values = self._numbers(column, report)
            whole = whole and values.dtype == np.int64
            single = single and (column.single or single_suffices(values))
            if self.entry.converts:
                self._check_exact(column, values)
                values = values * (self.entry.scale or 1.0) + (self.entry.offset or 0.0)
                column.refuse_first(~np.isfinite(values), "{} is beyond all numbers after scale and offset")
                single = single and _apart(values)
            self._check_bounds(column, values)
            read.append(NumberColumn(self._scratch, values))
            lows.append(values.min())
            highs.append(values.max())
        if not whole and not self.entry.converts:
            for name, stored in zip(self.entry.columns, read, strict=True):
                self._check_exact(self._column(name), stored[:])
        low, high = (np.array(ends, None if whole else np.float64) for ends in (lows, highs))
        dtype = self._dtype.type if self._dtype is not None else self._type(low, high, whole, single)
        self.space = spaces.Box(*self._limits(low, high, dtype), (len(read),), dtype)
        self.values = Vectors(read, dtype)
        names = {np.int64: "whole numbers", np.float32: "numbers", np.float64: "numbers in double precision"}
        sign = f", decimal sign {self.notation.decimal!r}" if self.notation.decimal != "." else ""
        sign += "".join(f", {unit} times {factor:g}" for unit, factor in self.entry.units if factor != 1)
        for report, stored in zip(self.reports, read, strict=True):
            report.how = names[dtype] + sign
            report.see(stored[:].astype(dtype))

    def _check_exact(self, column: Cells, values: np.ndarray) -> None:
        """Refuses whole numbers that a real one does not hold."""
        if values.dtype == np.int64:
            column.refuse_first(
                np.abs(values.astype(np.float64)) > EXACT,
                "{} has more digits than a real number holds; leave scale and offset out, or make it a part alone",
            )

    def _check_bounds(self, column: Cells, values: np.ndarray) -> None:
        """Refuses numbers outside of the bounds that the YAML gives."""
        if self.entry.low is None and self.entry.high is None:
            return
        low = -np.inf if self.entry.low is None else self.entry.low
        high = np.inf if self.entry.high is None else self.entry.high
        for row in np.flatnonzero((values < low) | (values > high)):
            column.refuse(int(row), f"{values[row]:g} is outside of {low:g} to {high:g}")

    def _type(
        self, low: np.ndarray, high: np.ndarray, whole: bool, single: bool
    ) -> type[np.int64 | np.float32 | np.float64]:
        """The type that keeps numbers between ``low`` and ``high`` ``(W,)``."""
        if whole and self.role == "action":
            if self.entry.low is None or self.entry.high is None:
                raise DatasetError(
                    f"{self.place} holds whole numbers: are they choices (values: [0, 1, 2]) "
                    "or an amount (low: 0, high: 2)?"
                )
            if float(self.entry.low).is_integer() and float(self.entry.high).is_integer():
                return np.int64
        if whole and max(np.abs(ends.astype(np.float64)).max() for ends in (low, high)) > EXACT:
            return np.int64
        return np.float32 if single else np.float64

    def _limits(self, low: np.ndarray, high: np.ndarray, dtype: type[np.number]) -> tuple[np.ndarray, np.ndarray]:
        """The bounds of the space: those of the YAML; otherwise none, or those of the data for actions and int64."""
        if self.role != "action" and dtype != np.int64:
            low, high = np.full(len(low), -np.inf), np.full(len(high), np.inf)
        low = low if self.entry.low is None else np.full_like(low, self.entry.low)
        high = high if self.entry.high is None else np.full_like(high, self.entry.high)
        return low.astype(dtype), high.astype(dtype)

    def _numbers(self, column: Cells, report: ColumnReport) -> np.ndarray:
        """The numbers of a column, whole or real, empty cells filled."""
        numbers = self._typed(column) if column.kind != TEXT else self._parsed(column)
        if column.kind == TEXT and numbers.dtype != np.int64:
            long = self.notation.too_long(column.texts())
            if long:
                report.notes.append(f"{long:,} numbers have more than 17 digits and were rounded to double precision")
        rows = self._fill_order(column, report)
        if rows is not None:
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
        raise DatasetError(f"column {self.entry.columns[0]} holds numbers; missing: {self.entry.missing!r} is none.")

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


def read_end(end: End, column: Cells, notation: Notation) -> np.ndarray:
    """Whether an episode ends with each row ``(N,)``; an empty cell says no.

    Raises:
        DatasetError: if a cell is neither true nor false, and the YAML does not say which values end an episode.
    """
    texts = column.texts()
    if end.values is not None:
        listed = match_values(texts, end.values, notation) >= 0
        return np.asarray(listed & ~column.empty)
    small = pc.utf8_lower(texts)
    for word, number in TRUTHS.items():
        small = pc.if_else(pc.equal(small, word), number, small)
    numbers, valid = Notation().numbers(small)
    wrong = ~column.empty & ~(valid & ((numbers == 0) | (numbers == 1)))
    column.refuse_first(
        wrong,
        f"{{}} is neither true nor false; say which values end an episode: {{column: {end.column}, values: [...]}}",
    )
    return np.asarray((numbers == 1) & ~column.empty)


def match_values(texts: pa.Array, values: Sequence[str], notation: Notation) -> np.ndarray:
    """The place of each cell among values ``(N,)``, -1 for none.

    Words are compared letter by letter; where that finds nothing, truth values without regard to capitals, and numbers
    as numbers (0 and 0.0), unless two values are the same number (7 and 007).
    """
    different = texts.dictionary_encode()
    return np.asarray(_matched(different.dictionary, values, notation)[np.asarray(different.indices)])


def _matched(words: pa.Array, values: Sequence[str], notation: Notation) -> np.ndarray:
    """The same for words that differ from each other."""
    codes = _index(words, list(values))
    if (codes >= 0).all():
        return codes
    small = [value.lower() for value in values]
    if set(small) <= TRUTHS.keys() and len(set(small)) == len(small):
        codes = np.where(codes < 0, _index(pc.utf8_lower(words), small), codes)
    numbers, valid = _as_numbers(pa.array(values, pa.large_string()), notation)
    if len(values) <= MOST_VALUES and valid.all() and len(set(numbers.tolist())) == len(values):
        cells, there = _as_numbers(words, notation)
        order = np.argsort(numbers)
        place = np.minimum(np.searchsorted(numbers[order], cells), len(values) - 1)
        same = there & (numbers[order][place] == cells)
        codes = np.where(codes < 0, np.where(same, order[place], -1), codes)
    return codes


def choice_codes(column: Cells, texts: pa.Array, values: Sequence[str], notation: Notation) -> np.ndarray:
    """The number of each cell among the values of a choice.

    Raises:
        DatasetError: if a cell is none of them.
    """
    codes = match_values(texts, values, notation)
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
