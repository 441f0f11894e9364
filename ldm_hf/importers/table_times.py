"""Times of a table: numbers, dates and durations, whose notation is evident or given, never guessed.

| cells without a format | are |
| --- | --- |
| ``2026-03-01 12:00``, ``2026-03-01T12:00:00.5Z``, ``2026/03/01`` | year, month, day |
| ``01.03.2026`` | day, month, year |
| ``03/01/2026``, ``03-01-2026`` | refused, unless a number beyond 12 decides which is the day |
| ``1 Mar 2026``, ``Mar 1, 2026`` | what they say |
| numbers | numbers; refused if all of them could be dates written in digits, such as 20260301 |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import DatasetError
from .report import ColumnReport
from .table_cells import DATE, DURATION, REAL, WHOLE, Cells, Notation
from .table_columns import Layout

CLOCK = r"([T ]+\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?)?"
ZONE = r" ?(Z|[+-]\d{2}:?\d{2}|[A-Z]{3,5})?"
ORDERS = {  # of the parts of a date
    "year-month-day": rf"^\d{{4}}[-/]\d{{1,2}}[-/]\d{{1,2}}{CLOCK}{ZONE}$",
    "day.month.year": rf"^\d{{1,2}}\.\d{{1,2}}\.(\d{{4}}|\d{{2}}){CLOCK}{ZONE}$",
    "undecided": rf"^\d{{1,2}}[-/]\d{{1,2}}[-/](\d{{4}}|\d{{2}}){CLOCK}{ZONE}$",
    "names": rf"^(\d{{1,2}}[ -]\p{{L}}{{3,9}}[ -]\d{{4}}|\p{{L}}{{3,9}} \d{{1,2}}, \d{{4}}){CLOCK}{ZONE}$",
}
DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # dates that look like numbers
BLOCK = 500_000  # dates that are read at a time
NUMBER = "number"  # the format of times that are numbers
WIDTHS = {"Y": 4, "y": 2, "m": 2, "d": 2, "H": 2, "I": 2, "M": 2, "S": 2, "j": 3, "f": 6}
HINT = "give the format (time: {{column: {column}, format: '%d.%m.%Y %H:%M'}})"


class Times:
    """The time of each row.

    Args:
        columns: columns of the time, in the order in which their cells are to be read.
        layout: what the YAML says.

    Attributes:
        values: numbers, or nanoseconds of dates and durations, ``(N,)``.
        dated: whether they are nanoseconds.
        report: how they were read.

    Raises:
        DatasetError: if a cell is no time, or could be two; names the row.
    """

    def __init__(self, columns: Sequence[Cells], layout: Layout) -> None:
        self.columns, self.layout = columns, layout
        self.name = ", ".join(column.name for column in columns)
        self.report = ColumnReport(self.name, "time")
        for column in columns:
            column.refuse_first(column.empty, "{} is no time; the cell is empty")
        self.values, self.dated = self._read()
        self.report.first, self.report.last = (
            self.shown(int(self.values.argmin())),
            self.shown(int(self.values.argmax())),
        )

    def shown(self, row: int) -> str:
        """The time of a row in words."""
        return str(pd.Timestamp(self.values[row])) if self.dated else str(self.values[row])

    def _read(self) -> tuple[np.ndarray, bool]:
        """The values, and whether they are nanoseconds."""
        column = self.columns[0]
        if len(self.columns) == 1 and not self.layout.time_format:
            if column.kind == DATE:
                self.report.how = "dates"
                return self._nanoseconds(pd.Series(column.values)), True
            if column.kind == DURATION:
                self.report.how = "durations"
                return pd.Series(column.values).dt.as_unit("ns").to_numpy().astype(np.int64), True
        if len(self.columns) == 1 and column.kind in (WHOLE, REAL) and self.layout.time_format in (None, NUMBER):
            return self._numbers(np.asarray(column.values)), False
        texts = self._texts()
        if self.layout.time_format and self.layout.time_format != NUMBER:
            return self._formatted(texts, self.layout.time_format), True
        if len(self.columns) == 1:
            numbers, valid = Notation(self.layout.decimal, self.layout.thousands).numbers(texts)
            if valid.all() or self.layout.time_format == NUMBER:
                column.refuse_first(~valid, "{} is no number, as the format says")
                return self._numbers(numbers), False
        return self._dates(texts), True

    def _texts(self) -> pa.Array:
        """The cells as texts, those of several columns joined by a blank."""
        parts = []
        for column in self.columns:
            if column.kind == DATE:
                written = pd.Series(column.values).dt.strftime("%Y-%m-%d").to_numpy(object)
                parts.append(pa.array(written, pa.large_string()))
            elif column.kind == WHOLE and self.layout.time_format and len(self.columns) == 1:
                width = _width(self.layout.time_format)
                parts.append(pa.array([f"{number:0{width}d}" for number in column.values], pa.large_string()))
            else:
                parts.append(column.texts())
        return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, pa.scalar(" ", pa.large_string()))

    def _numbers(self, numbers: np.ndarray) -> np.ndarray:
        """Times that are numbers, unless all of them could be dates in digits."""
        column = self.columns[0]
        column.refuse_first(~np.isfinite(numbers), "{} is no finite number")
        if not self.layout.time_format and numbers.dtype == np.int64:
            length = len(str(numbers[0]))
            format = DIGITS.get(length)
            texts = [str(number) for number in np.unique(numbers)]
            if format and all(len(text) == length for text in texts):
                dates = pd.to_datetime(pd.Series(texts), format=format, errors="coerce")
                if bool(dates.notna().all()) and bool(dates.dt.year.between(1950, 2100).all()):
                    column.refuse(
                        0,
                        f"{numbers[0]} could be a date or a number; say which "
                        f"(time: {{column: {column.name}, format: '{format}'}}, or format: number)",
                    )
        self.report.how = "numbers"
        return numbers

    def _formatted(self, texts: pa.Array, format: str) -> np.ndarray:
        """Times in the format that the YAML gives."""
        self.report.how = f"dates as {format}"
        try:
            utc = "%z" in format or "%Z" in format
            dates = _in_blocks(texts, lambda block: pd.to_datetime(block, errors="coerce", format=format, utc=utc))
        except ValueError as error:
            raise DatasetError(f"{self.layout.place}: time.format {format!r} cannot be used ({error}).") from error
        self._refuse_unread(dates, texts, f"{{}} is no time like {format}")
        return self._nanoseconds(dates)

    def _dates(self, texts: pa.Array) -> np.ndarray:
        """Dates whose notation is evident."""
        texts, zones = self._without_zone_names(texts)
        unique = texts.dictionary_encode()
        words = unique.dictionary
        order = next((name for name, pattern in ORDERS.items() if _all(words, pattern)), None)
        if order is None:
            self._refuse_odd(texts)
        if order == "undecided":
            order = self._decided(texts)
        self.report.how = f"dates, {order}"
        aware = pc.match_substring_regex(words, r"(Z|[+-]\d{2}:?\d{2})$")
        if order not in ("year-month-day",):
            aware = pc.match_substring_regex(words, r":\d{2}\S* ?(Z|[+-]\d{2}:?\d{2})$")
        known = np.asarray(aware)
        if known.any() and not known.all():
            self.columns[0].refuse_first(
                ~known[np.asarray(unique.indices)], "{} names no time zone, other rows do; give all of them one"
            )
        dates = _in_blocks(words, lambda block: self._parsed(_plain(block, str(order)), str(order), bool(known.any())))
        taken = dates.take(np.asarray(unique.indices)).reset_index(drop=True)
        self._refuse_unread(taken, texts, "{} is no time; such a day or hour does not exist")
        return self._nanoseconds(taken, zones)

    def _parsed(self, words: pd.Series, order: str, aware: bool) -> pd.Series:
        """Dates of a known order of their parts; NaT for those that do not exist."""
        if order == "year-month-day":
            iso = words.str.replace("/", "-").str.replace(r"-(\d)(?=\D|$)", r"-0\1", regex=True)
            iso = iso.str.replace(r" (\d):", r" 0\1:", regex=True).str.replace(r" (Z|[+-]\d)", r"\1", regex=True)
            if not iso.str.contains("[AaPp]\\.?[Mm]", regex=True).any():
                return pd.to_datetime(iso, format="ISO8601", errors="coerce", utc=aware)
            words = iso
        words = words.str.replace(r" ?([AaPp])\.?[Mm]\.?", r" \1M", regex=True).str.replace(r"[./]", "-", regex=True)
        words = words.str.replace(r"-(\d+)(?=( ?Z| ?[+-]\d{2}:?\d{2}| [AP]M)?$)", _fraction, regex=True)
        day, month = ("%d", "%m")
        stem = {
            "day.month.year": f"{day}-{month}-",
            "day/month/year": f"{day}-{month}-",
            "month/day/year": f"{month}-{day}-",
        }
        starts = [stem[order] + "%Y", stem[order] + "%y"] if order in stem else []
        starts += {"names": ["%d %b %Y", "%d %B %Y", "%b %d %Y", "%B %d %Y"], "year-month-day": ["%Y-%m-%d"]}.get(
            order, []
        )
        zone = "%z" if aware else ""
        words = words.str.replace(r" (Z|[+-]\d)", r"\1", regex=True) if aware else words
        found = pd.Series(pd.NaT, index=words.index, dtype="datetime64[ns, UTC]" if aware else "datetime64[ns]")
        for start in starts:
            for clock in ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p"):
                open_ones = found.isna()
                if open_ones.any():
                    read = pd.to_datetime(words[open_ones], format=start + clock + zone, errors="coerce", utc=aware)
                    found[open_ones] = read.dt.as_unit("ns")
        return found

    def _decided(self, texts: pa.Array) -> str:
        """The order of day and month in dates with slashes or dashes, which a number beyond 12 decides."""
        parts = pc.extract_regex(texts, r"^(?P<first>\d{1,2})[-/](?P<second>\d{1,2})")
        first, second = (
            pc.struct_field(parts, name).cast(pa.int64()).to_numpy(zero_copy_only=False)
            for name in ("first", "second")
        )
        column = self.columns[0]
        if (first > 12).any() and (second > 12).any():
            row = int(np.argmax(first > 12 if first[0] <= 12 else second > 12))
            column.refuse(row, f"{column.shown(row)} has its day in another place than other rows; give the format")
        if not (first > 12).any() and not (second > 12).any():
            column.refuse(
                0,
                f"is {column.shown(0)} day first or month first? No row decides it; "
                f"give the format (time: {{column: {column.name}, format: '%d/%m/%Y'}}, or '%m/%d/%Y %H:%M')",
            )
        return "day/month/year" if (first > 12).any() else "month/day/year"

    def _without_zone_names(self, texts: pa.Array) -> tuple[pa.Array, pa.Array | None]:
        """Texts without names of zones behind them (UTC, CET), and these names where a zone says what they mean."""
        names = pc.struct_field(pc.extract_regex(texts, r":\d{2}\S* ?(?P<name>[A-Z]{3,5})$"), "name")
        if names.null_count == len(names):
            return texts, None
        if names.null_count:
            self.columns[-1].refuse_first(
                np.asarray(names.is_null()), "{} names no time zone, other rows do; give all of them one"
            )
        bare = pc.replace_substring_regex(texts, r" ?[A-Z]{3,5}$", "")
        if set(names.unique().to_pylist()) <= {"UTC", "GMT"}:
            return pc.binary_join_element_wise(bare, pa.scalar("Z", bare.type), pa.scalar("", bare.type)), None
        if not self.layout.zone:
            self.columns[-1].refuse(
                0,
                f"{self.columns[-1].shown(0)} names a time zone by letters, which several have; say where it is "
                f"(time: {{column: {self.name}, zone: Europe/Berlin}})",
            )
        return bare, names

    def _nanoseconds(self, dates: pd.Series, names: pa.Array | None = None) -> np.ndarray:
        """Dates as nanoseconds; those without a zone are counted in the zone of the YAML, if it names one."""
        if self.layout.zone and dates.dt.tz is None:
            dates = self._localised(dates, names)
        elif self.layout.zone:
            raise DatasetError(
                f"{self.layout.place}: column {self.name} names its zone in every row; leave time.zone out."
            )
        if dates.dt.tz is not None:
            dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
        try:
            return np.asarray(dates.dt.as_unit("ns").to_numpy().astype(np.int64))
        except pd.errors.OutOfBoundsDatetime as error:
            raise DatasetError(f"column {self.name}: a date is before 1677 or after 2262 ({error}).") from error

    def _localised(self, dates: pd.Series, names: pa.Array | None) -> pd.Series:
        """Local times of a zone; the hour that comes twice in autumn is decided by names or by the order of rows."""
        self.report.notes.append(f"local times of {self.layout.zone}")
        zone = self.layout.zone
        nowhere = dates.dt.tz_localize(zone, ambiguous=np.ones(len(dates), bool), nonexistent="NaT")
        self.columns[0].refuse_first(
            nowhere.isna().to_numpy(), f"{{}} does not exist in {zone}, the clocks were put forward"
        )
        summer = np.ones(len(dates), bool)
        if names is not None:
            first, second = (
                dates.dt.tz_localize(zone, ambiguous=np.full(len(dates), flag), nonexistent="NaT")
                for flag in (True, False)
            )
            told = np.array(names.to_pylist(), object)
            abbreviated = [series.map(lambda when: when.tzname()).to_numpy(object) for series in (first, second)]
            summer = abbreviated[0] == told
            wrong = ~summer & (abbreviated[1] != told)
            self.columns[-1].refuse_first(wrong, f"{{}} is not what {zone} calls this time")
        else:
            second = dates.dt.tz_localize(zone, ambiguous=np.zeros(len(dates), bool), nonexistent="NaT")
            twice = (second != nowhere).to_numpy()
            self.columns[0].refuse_first(
                twice,
                f"{{}} comes twice in {zone}, when the clocks were put back; write CET or CEST, or +01:00, behind it",
            )
        return dates.dt.tz_localize(zone, ambiguous=summer)

    def _refuse_odd(self, texts: pa.Array) -> None:
        """Refuses times of which no notation covers all."""
        counts = {
            name: int(pc.sum(pc.match_substring_regex(texts, pattern)).as_py() or 0)
            for name, pattern in ORDERS.items()
        }
        most = max(counts, key=lambda name: counts[name])
        fits = (
            np.asarray(pc.match_substring_regex(texts, ORDERS[most])) if counts[most] else np.zeros(len(texts), bool)
        )
        row = int(np.argmin(fits))
        like = f"like {texts[int(np.argmax(fits))].as_py()!r}" if fits.any() else "that can be read without its format"
        self.columns[0].refuse(row, f"{texts[row].as_py()!r} is no time {like}; " + HINT.format(column=self.name))

    def _refuse_unread(self, dates: pd.Series, texts: pa.Array, problem: str) -> None:
        """Refuses the first time that could not be read."""
        gone = dates.isna().to_numpy()
        if gone.any():
            row = int(np.argmax(gone))
            self.columns[0].refuse(
                row, problem.replace("{}", repr(texts[row].as_py())) + f" ({int(gone.sum())} such rows)"
            )


def _in_blocks(texts: pa.Array, read: Callable[[pd.Series], pd.Series]) -> pd.Series:
    """Dates of all texts, some at a time, since each is a Python string for a while."""
    blocks = [read(pd.Series(texts[start : start + BLOCK].to_pandas())) for start in range(0, len(texts), BLOCK)]
    return pd.concat(blocks, ignore_index=True)


def _plain(words: pd.Series, order: str) -> pd.Series:
    """Dates with one blank before the time of day and a point before its fractions, or without dashes and commas."""
    if order == "names":
        return words.str.replace("-", " ").str.replace(",", "")
    spaced = words.str.replace(r"(\d)[ T]+(\d{1,2}:)", r"\1 \2", regex=True)
    return spaced.str.replace(",(\\d+)", ".\\1", regex=True)


def _all(texts: pa.Array, pattern: str) -> bool:
    """Whether all texts fit a pattern."""
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())


def _fraction(found: re.Match[str]) -> str:
    """Puts the point back in front of a fraction of a second."""
    return "." + found.group(1) if ":" in found.string[: found.start()] else found.group(0)


def _width(format: str) -> int:
    """Number of digits of a format of digits only; 0 for others."""
    directives = re.findall("%(.)", format)
    if re.sub("%.", "", format) or not all(name in WIDTHS for name in directives):
        return 0
    return sum(WIDTHS[name] for name in directives)
