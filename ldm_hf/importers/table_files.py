"""The files of a table: CSV in its dialects as texts, exactly as they are written; Parquet and pandas with their types.

Rows are counted from 1, without the header, in each file.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from ..errors import DatasetError
from .table_store import Scratch, TextColumn

TEXTS, PARQUET = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
BLOCK = 2 * 2**20  # bytes of a CSV file that are parsed at a time; a row may have as many
TABLES = "a .csv, .tsv or .txt file (also with .gz), a .parquet file, a folder of them, or a pattern such as log-*.csv"

Raw = Any
"""One column: texts of a CSV file, or typed values."""


@dataclass(frozen=True)
class Dialect:
    """How CSV files are written.

    Args:
        separator: sign between cells; by default a tab in ``.tsv`` files, else a comma.
        encoding: name of the encoding; by default UTF-8, or what the first bytes say.
    """

    separator: str | None = None
    encoding: str | None = None


class Places:
    """The place of each row in its file, for messages.

    Args:
        lengths: names of the files and their numbers of rows; one file needs no name.
    """

    def __init__(self, lengths: Sequence[tuple[str, int]]) -> None:
        self.names = [name for name, _ in lengths]
        self.starts = np.cumsum([0, *(length for _, length in lengths)])
        self.order: np.ndarray | None = None

    def take(self, order: np.ndarray) -> Places:
        """The places of the rows in another order."""
        other = Places([])
        other.names, other.starts = self.names, self.starts
        other.order = order if self.order is None else self.order[order]
        return other

    def __call__(self, row: int) -> str:
        """The place in words; ``row`` counts from 0 through all files."""
        row = row if self.order is None else int(self.order[row])
        file = int(np.searchsorted(self.starts, row, side="right")) - 1
        prefix = f"{self.names[file]}, " if len(self.names) > 1 else ""
        return f"{prefix}row {row - int(self.starts[file]) + 1}"


class TableFiles:
    """A table in one file or several.

    Args:
        source: a path, a folder, a pattern, a list of paths, or a pandas table.
        dialect: how CSV files are written.

    Raises:
        DatasetError: if a file cannot be read, or its columns are not those of the first.
    """

    def __init__(self, source: str | Path | Sequence[str | Path] | pd.DataFrame, dialect: Dialect) -> None:
        self.dialect, self.notes = dialect, list[str]()
        self._scratch, self._texts = Scratch(), dict[str, TextColumn]()
        self.paths: list[Path] = []
        if isinstance(source, pd.DataFrame):
            self.frame: pd.DataFrame | None = _with_index(source)
            self.names = [str(name) for name in self.frame.columns]
            return
        self.frame = None
        self.paths = _found(source)
        if len({_ending(path) in PARQUET for path in self.paths}) > 1:
            raise DatasetError(f"{self.paths[0]} and the others are CSV and Parquet files; import them one by one.")
        headers = [self._header(path) for path in self.paths]
        self.names = headers[0]
        for path, header in zip(self.paths, headers, strict=True):
            if sorted(header) != sorted(self.names):
                other = sorted(set(header) ^ set(self.names)) or ["the number of columns of the same name"]
                raise DatasetError(
                    f"{path} has other columns than {self.paths[0]} ({', '.join(other)}); import them one by one."
                )

    def _header(self, path: Path) -> list[str]:
        """The names of the columns of a file."""
        with _readable(path):
            if _ending(path) in PARQUET:
                return cast(list[str], pq.read_schema(path).names)
            with path.open("rb") as raw:
                return _Texts(path, raw, self.dialect).header

    def read(self, wanted: list[str]) -> Places:
        """Reads the cells of CSV files, which stay on the disk until `column` is asked for them.

        Returns:
            The places of all rows, all files one after another.

        Raises:
            DatasetError: if a file is damaged, or a row has more or fewer cells than the header.
            UnwritableError: if there is no room for what was read.
        """
        if self.frame is not None:
            return Places([("", len(self.frame))])
        lengths = []
        for path in self.paths:
            with _readable(path):
                lengths.append((path.name, self._read(path, wanted)))
        return Places(lengths)

    def _read(self, path: Path, wanted: list[str]) -> int:
        """Reads a CSV file; returns the number of rows of this or a Parquet file."""
        if _ending(path) in PARQUET:
            return int(pq.read_metadata(path).num_rows)
        rows = 0
        with path.open("rb") as raw:
            texts = _Texts(path, raw, self.dialect)
            for batch in texts.batches(wanted):
                for name, block in zip(wanted, batch.columns, strict=True):
                    self._texts.setdefault(name, TextColumn(self._scratch)).add(block)
                rows += batch.num_rows
            if texts.closed_by_separator:
                self.notes.append(
                    f"{path.name}: every row ends with a separator; the empty cell behind it is left out"
                )
        return rows

    def column(self, name: str) -> Raw:
        """A column of all files, one after another; see `read`.

        Raises:
            DatasetError: if a file is damaged.
        """
        if self.frame is not None:
            return self.frame.iloc[:, self.names.index(name)]
        if name in self._texts:
            return self._texts[name].read()
        return _joined([_parquet_column(path, name) for path in self.paths])


def _parquet_column(path: Path, name: str) -> pd.Series:
    """A column of a Parquet file; the index that pandas may have put aside is one, and whole numbers stay whole."""
    with _readable(path):
        table = pq.ParquetFile(path).read([name])
        return table.to_pandas(ignore_metadata=True, integer_object_nulls=True)[name]


class _Texts:
    """A CSV file as texts.

    Args:
        path: path of the file.
        raw: its bytes.
        dialect: how it is written.
    """

    def __init__(self, path: Path, raw: BinaryIO, dialect: Dialect) -> None:
        self.path, self.separator = path, dialect.separator or ("\t" if _ending(path) == ".tsv" else ",")
        content = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if path.suffix.lower() == ".gz" else raw
        first = content.read(4)
        content.seek(0)
        told = next((name for mark, name in MARKS.items() if first.startswith(mark)), None)
        if told is None and b"\x00" in first and dialect.encoding is None:
            raise DatasetError(f"{path} is not UTF-8; say what it is (encoding: utf-16-le, or utf-16-be).")
        encoding = dialect.encoding if dialect.encoding and told != "utf-8-sig" else told
        self.text = io.TextIOWrapper(content, encoding or "utf-8", newline="")
        self.closed_by_separator = False
        self.header = self._line()
        if len(self.header) == 1 and self.header[0].startswith("sep="):  # Excel's own way to name the separator
            self.separator = dialect.separator or self.header[0][4:] or self.separator
            self.header = self._line()
        elif self.header[:1] == ["sep="]:
            self.header = self._line()

    def _line(self) -> list[str]:
        """The next row that is not empty."""
        for row in csv.reader(iter(self.text.readline, ""), delimiter=self.separator):
            if row:
                return [row[0].removeprefix("\ufeff"), *row[1:]]
        raise DatasetError(f"{self.path} is empty.")

    def batches(self, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        """Blocks of the columns, every cell a text."""
        rest = _Bytes(self.text)
        fields = len(self.header) + self._surplus(rest)
        positions = [str(self.header.index(name)) for name in wanted]
        read = positions + ([str(fields - 1)] if self.closed_by_separator else [])
        uneven, rows = False, 0

        def refused(_: arrow_csv.InvalidRow) -> str:
            nonlocal uneven
            uneven = True
            return "error"

        try:
            reader = arrow_csv.open_csv(
                pa.PythonFile(rest, mode="r"),
                arrow_csv.ReadOptions(
                    column_names=[str(at) for at in range(fields)], block_size=BLOCK, use_threads=False
                ),
                arrow_csv.ParseOptions(delimiter=self.separator, newlines_in_values=True, invalid_row_handler=refused),
                arrow_csv.ConvertOptions(
                    column_types={name: pa.string() for name in read},
                    include_columns=read,
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                rows += batch.num_rows
                if self.closed_by_separator and any(map(str.strip, batch.column(len(read) - 1).unique().to_pylist())):
                    self._refuse_first(len(self.header))
                yield pa.RecordBatch.from_arrays(batch.columns[: len(positions)], names=wanted)
        except pa.ArrowInvalid as error:
            if uneven:
                self._refuse_first(fields)
            if "straddling" in str(error):
                raise DatasetError(
                    f"{self.path}: a row behind row {rows} has more than {BLOCK / 2**20:g} MiB; is a quotation mark "
                    "never closed? Longer texts can be imported from Parquet."
                ) from error
            if "Empty CSV file" not in str(error):
                raise
        if rest.quoted:
            self._check_quotes(fields, rows)

    def _rows(self, strict: bool = False) -> Iterator[list[str]]:
        """All rows behind the header, once more and slowly, to find out what is wrong."""
        with self.path.open("rb") as raw:
            again = _Texts(self.path, raw, Dialect(self.separator, self.text.encoding))
            lines = iter(again.text.readline, "")
            yield from (row for row in csv.reader(lines, delimiter=self.separator, strict=strict) if row)

    def _refuse_first(self, fields: int) -> NoReturn:
        """Names the first row that has another number of cells."""
        for number, row in enumerate(self._rows(), 1):
            closed = self.closed_by_separator and len(row) == len(self.header) + 1 and not row[-1].strip()
            if len(row) != fields and not closed:
                shown = self.separator.join(row)
                raise DatasetError(
                    f"{self.path}: row {number} has {len(row)} cells, the header has {len(self.header)}: "
                    f"{shown[:80]!r}. Complete the row, or put a cell that has a {self.separator!r} in it into quotes."
                )
        raise DatasetError(f"{self.path}: rows have different numbers of cells; is the separator right?")

    def _check_quotes(self, fields: int, rows: int) -> None:
        """Refuses quotation marks that nothing closes, which swallow the rows behind them, or that end early."""
        number = 0
        try:
            for number, row in enumerate(self._rows(strict=True), 1):  # noqa: B007, the last number counts
                if len(row) != fields:
                    break
            else:
                if number == rows:
                    return
            problem = "cells"
        except csv.Error as error:
            problem = str(error)
        raise DatasetError(
            f"{self.path}: row {number + 1} has a quotation mark that does not enclose a whole cell ({problem}); "
            'double the marks that belong to a cell ("5"" pipe").'
        )

    def _surplus(self, rest: _Bytes) -> int:
        """1 if the first row has an empty cell more than the header, as all others should have then."""
        block = rest.peek()
        sample = io.StringIO(block.decode("utf-8", "ignore"), newline="")
        row = next((row for row in csv.reader(sample, delimiter=self.separator) if row), [])
        self.closed_by_separator = len(row) == len(self.header) + 1 and not row[-1].strip()
        return int(self.closed_by_separator)


class _Bytes(io.RawIOBase):
    """The rest of a text as UTF-8."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text, self.held, self.quoted = text, b"", False

    def peek(self) -> bytes:
        """The next bytes, which stay to be read."""
        if not self.held:
            self._fill(2**16)
        return self.held

    def _fill(self, size: int) -> None:
        """Takes some more of the text."""
        self.held = self.text.read(size).encode()
        self.quoted |= b'"' in self.held

    def readable(self) -> bool:
        """Says that it can be read, as pyarrow asks."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``."""
        if not self.held:
            self._fill(size)
        size = len(self.held) if size < 0 else size
        given, self.held = self.held[:size], self.held[size:]
        return given


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what libraries raise for a damaged file into one sentence."""
    try:
        yield
    except (UnicodeError, LookupError) as error:
        raise DatasetError(
            f"{path} is not written in this encoding ({error}); name it (encoding: cp1252 for older Windows programs, "
            "utf-16 for Excel's Unicode text)."
        ) from error
    except (OSError, ValueError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} cannot be read ({str(error).strip()}); is it whole, and is the separator right?"
        ) from error


def _found(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that a source names, in the order of the numbers in their names."""
    if not isinstance(source, str | Path):
        return [path for single in source for path in _found(single)]
    path = Path(source).expanduser()
    if path.is_dir():
        paths = [child for child in path.rglob("*") if child.is_file() and child.name[0] not in "._"]
        kinds = {_ending(child) in PARQUET for child in paths if _ending(child) in TEXTS + PARQUET}
        paths = [child for child in paths if _ending(child) in TEXTS + PARQUET]
        if len(kinds) != 1:
            raise DatasetError(
                f"{path} should hold CSV files or Parquet files; it holds {'both' if kinds else 'none'}."
            )
        return sorted(paths, key=_natural)
    if path.is_file():
        if _ending(path) not in TEXTS + PARQUET:
            raise DatasetError(f"{path} is neither .csv nor .parquet; a table is {TABLES}.")
        return [path]
    matching = sorted(map(Path, glob.glob(str(path))), key=_natural)
    if not matching:
        raise DatasetError(f"there is no {path}.")
    return [found for match in matching for found in _found(match)]


def _ending(path: Path) -> str:
    """What kind of file the name tells, in small letters, without ``.gz``."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return plain.suffix.lower()


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """A key that sorts ``part-10`` behind ``part-2``."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose named index is a column like the others."""
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    return frame.reset_index(level=named).reset_index(drop=True) if named else frame.reset_index(drop=True)


def _joined(parts: list[pd.Series]) -> pd.Series:
    """One column of several files."""
    if len(parts) == 1:
        return parts[0]
    kinds = {part.dtype.kind for part in parts}
    if len(kinds) > 1 and not kinds <= {"i", "u"}:
        parts = [part.astype(object) for part in parts]
    return pd.concat(parts, ignore_index=True)
