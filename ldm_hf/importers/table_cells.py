"""Cells of a table, read exactly: as numbers, choices or texts, or refused with their row.

What a column is taken for follows from the keys of the YAML; without any, from its cells:

| cells | are |
| --- | --- |
| all written as plain numbers | numbers |
| all words, none of which reads like a number in another notation | choices, in the order of the alphabet |
| anything else: numbers among words, ``1,5``, ``10 %``, ``3 kW``, ``007``, dates, durations | refused; a key decides |

Words such as ``NA`` and ``null`` are empty cells in columns of numbers, and words everywhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas._libs.parsers import STR_NA_VALUES
from pandas.api import types

from ..errors import DatasetError
from .table_files import Places, Raw

TEXT, WHOLE, REAL, TRUTH, DATE, DURATION = "text", "whole", "real", "truth", "date", "duration"
NO_NUMBER = sorted(STR_NA_VALUES - {""})  # what pandas takes for an empty cell, too
LEADING_ZERO = r"^[+-]?0\d"
LIKE_NUMBERS = "|".join(
    (
        r"^[^\p{L}\p{N}]*\p{N}",  # 1,5; 10 %; € 3; (4); <0.1; ½; 3rd
        r"^[A-Z]{3}\s?[-+]?\d",  # EUR 5
        r"^-?P(\d|T\d)",  # ISO 8601's durations
        r"(?i)^[+-]?inf(inity)?$",
        r"(?i)^(\p{L}+\.?,? )?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\p{L}*\.? \d",  # Mar 5, 2026
    )
)
BLANK_ENDS = r"^[\s\p{Z}\x00-\x1f\x{85}]|[\s\p{Z}\x00-\x1f\x{85}]$"
MOST_WHOLE = 2**63 - 1
MOST_DIGITS = 17


@dataclass(frozen=True)
class Notation:
    """How numbers are written as text.

    Args:
        decimal: decimal sign.
        thousands: sign between groups of three digits, where there is one.
        unit: what may stand before or behind a number.
        units: several units, one of which has to stand there, each with the factor that makes a number of the first one
            of it.
    """

    decimal: str = "."
    thousands: str | None = None
    unit: str | None = None
    units: tuple[tuple[str, float], ...] = ()

    @property
    def pattern(self) -> str:
        """The regular expression of a number in this notation, without thousands and unit."""
        sign = re.escape(self.decimal)
        return rf"^[+-]?(\d+({sign}\d*)?|{sign}\d+)([eE][+-]?\d+)?$"

    def bare(self, texts: pa.Array) -> pa.Array:
        """Cells without unit and thousands, and with a minus that computers know."""
        texts = _replaced(texts, "\N{MINUS SIGN}", "-")
        names = [name for name, _ in self.units] or ([self.unit] if self.unit else [])
        if names:
            unit = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))  # mm before m
            texts = pc.replace_substring_regex(texts, rf"^({unit})\s*|\s*({unit})$", "")
        if self.thousands:
            group = r"[ \x{a0}\x{2009}\x{202f}]" if self.thousands == " " else re.escape(self.thousands)
            grouped = pc.match_substring_regex(
                texts, rf"^[+-]?\d{{1,3}}({group}\d{{3}})+($|{re.escape(self.decimal)})"
            )
            texts = pc.if_else(grouped, pc.replace_substring_regex(texts, group, ""), texts)
        return texts

    def _factors(self, texts: pa.Array) -> pa.Array:
        """The factor of each cell's unit; 0 for a cell without one."""
        found = pa.array(np.zeros(len(texts)))
        for name, factor in sorted(self.units, key=lambda unit: len(unit[0])):  # mm overrules m
            unit = re.escape(name)
            found = pc.if_else(pc.match_substring_regex(texts, rf"^{unit}|{unit}$"), factor, found)
        return found

    def too_long(self, texts: pa.Array) -> int:
        """How many numbers have more digits than double precision tells apart."""
        if (pc.max(pc.utf8_length(texts)).as_py() or 0) <= MOST_DIGITS:
            return 0
        digits = pc.replace_substring_regex(self.bare(texts), r"^[+-]?0*|[eE].*$|\D", "")
        return int(pc.sum(pc.greater(pc.utf8_length(digits), MOST_DIGITS)).as_py() or 0)

    def numbers(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Reads cells.

        Returns:
            The numbers, int64 where all are whole, otherwise float64; and whether each cell is one ``(N,)``.

        Raises:
            DatasetError: if a whole number has more than 64 bits.
        """
        bare = self.bare(texts)
        valid = pc.match_substring_regex(bare, self.pattern)
        if self.units:
            factors = self._factors(texts)
            valid = pc.and_(valid, pc.greater(factors, 0.0))
            plain = _replaced(_only(bare, valid), self.decimal, ".")
            return pc.multiply(plain.cast(pa.float64()), factors).to_numpy(zero_copy_only=False), _mask(valid)
        plain = _only(bare, valid)
        if _has(plain, "+"):
            plain = pc.ascii_ltrim(plain, "+")
        if not _has(plain, self.decimal) and pc.all(pc.match_substring_regex(plain, r"^-?\d+$")).as_py() is not False:
            try:
                return plain.cast(pa.int64()).to_numpy(zero_copy_only=False), _mask(valid)
            except pa.ArrowInvalid as error:
                raise DatasetError(
                    f"a whole number has more than 64 bits ({str(error).rpartition(chr(10))[2]}); "
                    "say that the cells are words (words: true) or texts (text: true)"
                ) from error
        return _replaced(plain, self.decimal, ".").cast(pa.float64()).to_numpy(zero_copy_only=False), _mask(valid)


def _has(texts: pa.Array, sign: str) -> bool:
    """Whether a sign is in any of the texts."""
    return pc.any(pc.match_substring(texts, sign)).as_py() is True


def _replaced(texts: pa.Array, sign: str, by: str) -> pa.Array:
    """Texts with another sign; the same, not a copy, where there is nothing to replace."""
    return pc.replace_substring(texts, sign, by) if sign != by and _has(texts, sign) else texts


def _only(texts: pa.Array, valid: pa.Array) -> pa.Array:
    """Texts with a zero where one is not valid; the same where all are."""
    return texts if pc.all(valid).as_py() else pc.if_else(valid, texts, "0")


class Cells:
    """The cells of one column with their type.

    Args:
        name: name of the column.
        raw: texts of a CSV file, or typed values.
        places: places of the rows, for messages.
        decimal: decimal sign of numbers among texts.

    Attributes:
        kind: text, whole, real, truth, date or duration.
        values: the cells ``(N,)``: an array of NumPy, for texts of pyarrow (blanks around them are left out).
        empty: whether a cell holds nothing ``(N,)``.
        single: whether real numbers come in single precision.

    Raises:
        DatasetError: if a cell is a list, a dict or bytes.
    """

    values: np.ndarray | pa.Array

    def __init__(self, name: str, raw: Raw, places: Places, decimal: str = ".") -> None:
        self.name, self.places, self.single = name, places, False
        if isinstance(raw, pa.Array):
            self._take_texts(raw)
            return
        if isinstance(raw.dtype, pd.CategoricalDtype):
            categories = raw.cat.categories
            kind = object if raw.isna().any() and categories.dtype.kind not in "f" else categories.dtype
            raw = pd.Series(raw.to_numpy(dtype=object, na_value=None), dtype=object).astype(kind)
        self.empty = raw.isna().to_numpy(bool)
        if raw.dtype == object:
            raw = self._homogeneous(raw, decimal)
        dtype = raw.dtype
        if types.is_bool_dtype(dtype):
            self.kind, self.values = TRUTH, raw.to_numpy(bool, na_value=False)
        elif types.is_integer_dtype(dtype):
            self.kind, self.values = WHOLE, self._whole(raw)
        elif types.is_float_dtype(dtype):
            self.kind, self.values = REAL, np.where(self.empty, 0.0, raw.to_numpy(np.float64, na_value=0.0))
            self.single = getattr(dtype, "itemsize", 8) < 8
        elif types.is_datetime64_any_dtype(dtype):
            self.kind, self.values = DATE, raw.array
        elif types.is_timedelta64_dtype(dtype):
            self.kind, self.values = DURATION, raw.array
        else:
            try:
                texts = pa.array(raw.to_numpy(object, na_value=None), pa.large_string(), from_pandas=True)
            except pa.ArrowException:
                self.refuse(0, f"cells of type {dtype} are no numbers, words or dates; make some of them before")
            self._take_texts(texts)

    def _take_texts(self, texts: pa.Array) -> None:
        """Keeps texts, without the blanks around them."""
        self.kind = TEXT
        values = pc.fill_null(texts.cast(pa.large_string()), "")
        blank = pc.any(pc.match_substring_regex(values, BLANK_ENDS)).as_py()  # otherwise the texts stay where they are
        self.values = pc.utf8_trim_whitespace(values) if blank else values
        self.empty = _mask(pc.equal(self.values, ""))

    def _whole(self, raw: pd.Series) -> np.ndarray:
        """Whole numbers as int64, without a detour through real ones."""
        filled = raw.mask(raw.isna(), 0) if self.empty.any() else raw
        if len(filled) and int(filled.max()) > MOST_WHOLE:
            self.refuse(int(np.argmax(filled.to_numpy(np.uint64))), "the number has more than 63 bits; make it a text")
        return np.asarray(filled.to_numpy(np.int64))

    def _homogeneous(self, raw: pd.Series, decimal: str) -> pd.Series:
        """Python objects as a column of one type; mixed ones become texts, exactly as Python writes them."""
        found = types.infer_dtype(raw, skipna=True)
        if found == "boolean":
            return raw.mask(self.empty, False).astype(bool)
        if found == "integer":
            if any(not -MOST_WHOLE <= value <= MOST_WHOLE for value in raw[~self.empty]):
                return raw.astype("string")
            return raw.mask(self.empty, 0).astype(np.int64)
        large = any(isinstance(value, int) and abs(value) > 2**53 for value in raw[~self.empty])
        if found in ("floating", "mixed-integer-float") and not large:
            return raw.astype(np.float64)
        if found in ("datetime", "datetime64"):
            return pd.Series(pd.to_datetime(raw, utc=any(getattr(value, "tzinfo", None) for value in raw)))
        if found in ("timedelta", "timedelta64"):
            return pd.Series(pd.to_timedelta(raw))
        texts = raw.copy()
        for row in np.flatnonzero(~self.empty):
            value = raw.iloc[row]
            if isinstance(value, list | tuple | dict | set | bytes | np.ndarray):
                self.refuse(int(row), f"a cell should be one number, word or date, this is {value!r:.60}")
            number = isinstance(value, float | int | np.number) and not isinstance(value, bool | np.bool_)
            if type(value).__name__ == "Decimal" or number:
                texts.iloc[row] = str(value).replace(".", decimal)
            else:
                texts.iloc[row] = str(value)
        return texts.astype("string")

    def __len__(self) -> int:
        return len(self.empty)

    def take(self, order: np.ndarray) -> Cells:
        """The cells in another order; their places stay those of the source."""
        other = object.__new__(Cells)
        other.name, other.kind, other.single = self.name, self.kind, self.single
        other.values = self.values.take(pa.array(order)) if self.kind == TEXT else self.values[order]
        other.empty = self.empty[order]
        other.places = self.places.take(order)
        return other

    def shown(self, row: int) -> str:
        """A cell as messages quote it."""
        if self.empty[row]:
            return "''"
        value = self.values[row]
        return repr(value.as_py())[:82] if self.kind == TEXT else str(value)

    def refuse(self, row: int, problem: str) -> NoReturn:
        """Raises the error about a cell; ``row`` counts from 0."""
        raise DatasetError(f"column {self.name}: {self.places(row)}: {problem}")

    def refuse_first(self, wrong: np.ndarray, problem: str) -> None:
        """Raises the error about the first cell that is ``wrong``, if one is; ``{}`` in the problem is that cell."""
        if wrong.any():
            row = int(np.argmax(wrong))
            number = int(wrong.sum())
            self.refuse(row, problem.replace("{}", self.shown(row)) + (f" ({number} such rows)" if number > 1 else ""))

    def keys(self) -> np.ndarray:
        """A number for each different cell ``(N,)``, in the order in which they appear."""
        if self.kind == TEXT:
            return np.asarray(cast(Any, self.values).dictionary_encode().indices)
        codes: np.ndarray = pd.factorize(pd.Series(self.values))[0]
        return codes

    def content(self) -> np.ndarray | str:
        """The cells as one value that can be hashed."""
        return "\x00".join(cast(Any, self.values).to_pylist()) if self.kind == TEXT else np.asarray(self.values)

    def texts(self) -> pa.Array:
        """The cells as texts; whole real numbers without a point."""
        if self.kind == TEXT:
            return self.values
        if self.kind == TRUTH:
            return pa.array(np.where(self.values, "true", "false"), pa.large_string())
        if self.kind == REAL:
            written = [str(int(x)) if x == int(x) else repr(float(x)) for x in np.nan_to_num(self.values)]
            return pa.array(written, pa.large_string())
        return pa.array([str(value) for value in self.values], pa.large_string())


def _mask(values: pa.Array) -> np.ndarray:
    """A Boolean array of pyarrow as one of NumPy."""
    mask: np.ndarray = np.asarray(values.to_numpy(zero_copy_only=False), bool)
    return mask


def lookalike(texts: pa.Array) -> str | None:
    """What notation a text seems to be in that is no plain number, with the key that reads it; None for a word."""
    if not _mask(pc.match_substring_regex(texts, LIKE_NUMBERS)).any():
        return None
    text = texts[0].as_py()
    for pattern, cure in (
        (r"^[+-]?\d+,\d+$", "decimal: ',' or thousands: ','"),
        (r"^[+-]?\d{1,3}([.,' ]\d{3})+([.,]\d+)?$", "decimal: ',' and thousands: '.', or thousands: ','"),
        (r"%$", "unit: '%'"),
        (r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d:\d\d", "a date or time can only be the time: column; leave it out here"),
        (r"^[+-]?\d*[.,]?\d+\s*[^\d\s,.:/-]+$", "unit: "),
    ):
        if re.search(pattern, text):
            unit = re.sub(r"^[+-]?[\d.,]+\s*", "", text)
            return cure + unit if cure == "unit: " else cure
    return "unit, decimal, thousands"
