"""Random tables, written by the libraries of their formats in every dialect: each cell arrives as it was written."""

import csv
import gzip
import io
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_hf.errors import LDMError
from ldm_hf.importers import import_trajectories, open_source
from ldm_hf.importers.precision import single_suffices

from .exactly import assert_same, brought, episodes_of

WORDS = [
    "on",
    "off",
    "None",
    "NA",
    "null",
    "nan",
    "true",
    "level 3",
    "ä ö",
    'say "5"',
    "a,b",
    "x;y",
    "-",
    "#1",
    "007",
    "1,5",
    "10 %",
]
SIGNS = st.sampled_from([(",", "."), (";", ","), (";", "."), ("\t", ","), ("|", "."), (",", ",")])
FORMATS = [
    "%Y-%m-%d %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%z",
    "%d%m%Y%H%M%S",
    "%m/%d/%Y %I:%M:%S %p",
    None,
]


@st.composite
def numbers(draw, count):
    """Numbers of one column as decimals: measurements, large counters, tiny or huge ones."""
    places = draw(st.integers(0, 8))
    size = draw(st.sampled_from([1, 100, 10**6, 10**12, 2**62]))
    if places == 0 or size > 10**12:
        return [Decimal(value) for value in draw(st.lists(st.integers(-size, size), min_size=count, max_size=count))]
    values = st.integers(-size, size).map(lambda value: Decimal(value).scaleb(-places))
    return draw(st.lists(values, min_size=count, max_size=count))


def written(number, decimal, thousands):
    """A number in a notation."""
    text = f"{number:,f}" if thousands else f"{number:f}"
    return text.translate(str.maketrans({",": thousands or "", ".": decimal}))


@st.composite
def tables(draw):
    """What stands in a table: columns of cells, in the order of the time."""
    count = draw(st.integers(1, 12))
    start = datetime(2026, draw(st.integers(1, 12)), draw(st.integers(1, 28)), tzinfo=UTC)
    gaps = draw(st.lists(st.integers(1, 90_000), min_size=count, max_size=count))
    times = [start + timedelta(seconds=sum(gaps[: number + 1])) for number in range(count)]
    return {
        "time": times,
        "level": draw(numbers(count)),
        "flow": draw(numbers(count)),
        "mode": draw(st.lists(st.sampled_from(WORDS), min_size=count, max_size=count)),
        "pump": draw(st.lists(st.sampled_from(WORDS), min_size=count, max_size=count)),
        "cost": draw(st.lists(st.integers(-1000, 1000), min_size=count, max_size=count)),
        "failed": draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        "order": draw(st.permutations(range(count))),
    }


@st.composite
def dialects(draw):
    """How a table is written."""
    separator, decimal = draw(SIGNS)
    thousands = draw(st.sampled_from([None, None, "," if decimal == "." else ".", " "]))
    return {
        "kind": draw(st.sampled_from(["csv", "csv", "csv", "tsv", "csv.gz", "parts", "parquet", "pandas"])),
        "separator": separator,
        "decimal": decimal,
        "thousands": thousands,
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-le"])),
        "format": draw(st.sampled_from(FORMATS)),
        "newline": draw(st.sampled_from(["\n", "\r\n"])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        "closed": draw(st.booleans()),
    }


def as_csv(rows, dialect):
    """Rows of texts as the bytes of a CSV file."""
    file = io.StringIO(newline="")
    separator = "\t" if dialect["kind"] == "tsv" else dialect["separator"]
    writer = csv.writer(file, delimiter=separator, lineterminator="\n", quoting=dialect["quoting"])
    writer.writerows(rows)
    head, _, body = file.getvalue().partition("\n")
    if dialect["closed"]:  # every row but the header ends with a separator
        body = body.replace("\n", separator + "\n")
    return (head + "\n" + body).replace("\n", dialect["newline"]).encode(dialect["encoding"])


def save(table, dialect, folder):
    """Writes a table; returns the source and what the YAML says of it."""
    names = ["time", "level", "flow", "mode", "pump", "cost", "failed"]
    order, layout = table["order"], {}
    if dialect["kind"] in ("parquet", "pandas"):
        frame = pd.DataFrame({name: [table[name][row] for row in order] for name in names})
        for name in ("level", "flow"):
            whole = all(value == value.to_integral_value() for value in table[name])
            frame[name] = frame[name].map(int).astype("int64") if whole else frame[name].astype(float)
        if dialect["kind"] == "pandas":
            return frame, layout
        if dialect["closed"]:
            frame = frame.set_index("time")
        frame.to_parquet(folder / "log.parquet")
        return folder / "log.parquet", layout
    format = dialect["format"]
    rows = [
        [
            table["time"][row].strftime(format) if format else str(int(table["time"][row].timestamp())),
            *(written(table[name][row], dialect["decimal"], dialect["thousands"]) for name in ("level", "flow")),
            table["mode"][row],
            table["pump"][row],
            table["cost"][row],
            table["failed"][row],
        ]
        for row in order
    ]
    layout = {"decimal": dialect["decimal"], "separator": dialect["separator"]}
    if dialect["thousands"]:
        layout["thousands"] = dialect["thousands"]
    if dialect["kind"] == "tsv":
        del layout["separator"]
    if dialect["encoding"] in ("cp1252", "utf-16-le"):
        layout["encoding"] = dialect["encoding"]
    layout["time"] = {"column": "time", "format": format or "number"}
    if dialect["kind"] == "parts":
        half = len(rows) // 2
        parts = [part for part in (rows[:half], rows[half:]) if part]
        for number, part in enumerate(parts):
            (folder / f"log-{number}.csv").write_bytes(as_csv([names, *part], dialect))
        return str(folder / "log-*.csv"), layout
    content = as_csv([names, *rows], dialect)
    path = folder / f"log.{dialect['kind']}"
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path, layout


COLUMNS = {
    "name": "T",
    "time": "time",
    "observation": {"level": {"scale": 1}, "mode": {"words": True}},
    "action": {"flow": {"low": -(2**62), "high": 2**62}, "pump": {"words": True}},
    "reward": "cost",
    "end": {"terminated": {"column": "failed", "repeated": "each"}},
}


def check_table(table, dialect, folder, whole_way=False):
    """Imports what was written and compares every value."""
    source, layout = save(table, dialect, folder)
    columns = COLUMNS | layout
    if layout:
        (folder / "columns.yaml").write_text(yaml.safe_dump(columns), encoding="utf-8")
        columns = folder / "columns.yaml"
    if whole_way:
        episodes = episodes_of(brought("table", source, folder / "out", columns=columns))
    else:
        episodes = list(open_source("table", source, columns=columns).episodes())
    joined = {
        name: np.concatenate([episode[role][name] for episode in episodes])
        for role, names in (("observation", ("level", "mode")), ("action", ("flow", "pump")))
        for name in names
    }
    for name in ("level", "flow"):
        found, wanted = joined[name][:, 0], table[name]
        if found.dtype == np.int64:
            assert found.tolist() == [int(value) for value in wanted]
            continue
        exact = np.array([float(value) for value in wanted])
        if found.dtype == np.float32:
            assert single_suffices(exact)
        assert_same(found, exact)
        assert len(np.unique(found)) == len({float(value) for value in wanted})
    for name in ("mode", "pump"):
        words = sorted(set(table[name]))
        assert [words[code] for code in joined[name]] == table[name]
    assert np.concatenate([episode["reward"] for episode in episodes]).tolist() == table["cost"]
    assert np.concatenate([episode["terminated"] for episode in episodes]).tolist() == table["failed"]


def sized(examples):
    """How many random cases a test tries."""
    return settings(max_examples=examples, deadline=None)


@sized(150)
@given(tables(), dialects())
def test_every_cell_of_a_table_arrives(tmp_path_factory, table, dialect):
    check_table(table, dialect, tmp_path_factory.mktemp("table"))


@sized(15)
@given(tables(), dialects())
def test_every_cell_of_a_table_is_read_back(tmp_path_factory, table, dialect):
    check_table(table, dialect, tmp_path_factory.mktemp("table"), whole_way=True)


@pytest.mark.soak
@sized(20_000)
@given(tables(), dialects())
def test_every_cell_of_many_tables_arrives(tmp_path_factory, table, dialect):
    check_table(table, dialect, tmp_path_factory.mktemp("table"))


# --- files that are nearly good --------------------------------------------------------------------------------------

LOG = """time,level,pump,cost
2026-03-01 00:00,1.5,on,1
2026-03-01 00:15,"2.5",off,2
2026-03-01 00:30,3,on,-1
"""
YAML = """name: T
time: time
step: 15min
observation: {level: {low: 0}}
action:
  pump: {values: [on, off]}
reward: {columns: cost, scale: -1}
"""
GOOD = {"log.csv": LOG.encode(), "columns.yaml": YAML.encode()}


@st.composite
def mutations(draw, content):
    """Content with a byte changed, removed or added, or a line removed or doubled."""
    kind = draw(st.sampled_from(["change", "remove", "add", "line", "double", "cut"]))
    if kind in ("line", "double"):
        lines = content.splitlines(keepends=True)
        at = draw(st.integers(0, len(lines) - 1))
        return b"".join(lines[:at] + lines[at : at + 1] * (2 if kind == "double" else 0) + lines[at + 1 :])
    at = draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:at]
    byte = bytes([draw(st.one_of(st.integers(0, 255), st.sampled_from(list(b'",;:\n\t{}[]0-. '))))])
    return content[:at] + {"change": byte, "remove": b"", "add": byte + content[at : at + 1]}[kind] + content[at + 1 :]


def right(source, folder):
    """Checks that what could be imported is what Python's own reader of CSV finds in the file."""
    with (folder / "log.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    (name,) = [column.name for column in source.report.columns if column.role == "observation"]
    at = [cell.strip() for cell in rows[0]].index(name.strip())
    wanted = sorted(float(row[at]) for row in rows[1:])
    found = np.concatenate([episode["observation"][:, 0] for episode in source.episodes()])
    np.testing.assert_allclose(sorted(found.tolist()), wanted, rtol=6e-8)
    assert all(math.isfinite(value) for value in wanted)


def check_mutation(data, folder):
    """A file that is nearly good gives the right numbers, or an error of ours."""
    spoiled = data.draw(st.sampled_from(sorted(GOOD)))
    for name, content in GOOD.items():
        (folder / name).write_bytes(data.draw(mutations(content)) if name == spoiled else content)
    try:
        source = open_source("table", folder / "log.csv", columns=folder / "columns.yaml")
    except LDMError:
        return
    if spoiled == "log.csv":
        right(source, folder)


@sized(150)
@given(st.data())
def test_a_table_that_is_nearly_good_is_read_right_or_refused(tmp_path_factory, data):
    check_mutation(data, tmp_path_factory.mktemp("table"))


@pytest.mark.soak
@sized(5_000)
@given(st.data())
def test_many_tables_that_are_nearly_good_are_read_right_or_refused(tmp_path_factory, data):
    check_mutation(data, tmp_path_factory.mktemp("table"))


def check_parquet(data, folder):
    table = pa.table({"level": [1.5, 2.5], "pump": ["on", "off"]})
    pq.write_table(table, folder / "good.parquet")
    (folder / "log.parquet").write_bytes(data.draw(mutations((folder / "good.parquet").read_bytes())))
    try:
        columns = {"name": "T", "observation": {"level": {}}, "action": {"pump": {}}}
        import_trajectories(
            open_source("table", folder / "log.parquet", columns=columns), folder / "out", progress=False
        )
    except LDMError:
        return


@sized(40)
@given(st.data())
def test_a_parquet_file_that_is_nearly_good_is_read_or_refused(tmp_path_factory, data):
    check_parquet(data, tmp_path_factory.mktemp("table"))
