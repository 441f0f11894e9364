"""Files of a table, the YAML that describes them, the report, and columns that wait on the disk."""

import errno
import gzip
import io
import tempfile
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ldm_hf.errors import DatasetError, UnwritableError
from ldm_hf.importers import open_source, preview

from .tables import LOG, levels, opened

# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "further"),
    [
        ("LOG.CSV", LOG.encode(), {}),
        ("log.tsv", LOG.replace(",", "\t").encode(), {}),
        ("log.txt", LOG.replace(",", "\t").encode(), {"separator": "\\t"}),
        ("log.csv", LOG.replace(",", "\t").encode(), {"separator": "tab"}),
        ("log.csv", LOG.encode("utf-16"), {}),
        ("log.csv", LOG.encode("utf-8-sig"), {}),
        ("log.csv", LOG.encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("log.csv.gz", gzip.compress(LOG.encode(), mtime=0), {}),
        ("log.csv", LOG.replace("\n", "\r\n").encode(), {}),
        ("log.csv", LOG.replace(",", ", ").encode(), {}),
        ("log.csv", b"sep=;\n" + LOG.replace(",", ";").encode(), {}),
        ("log.csv", LOG.replace("level", '"level"').replace("1.5", '"1.5"').encode(), {}),
    ],
)
def test_files_of_plants_and_offices_are_read(tmp_path, name, content, further):
    assert levels(opened(tmp_path, content, name, **further)) == [[1.5, 2.5]]


def test_an_encoding_is_named_not_guessed(tmp_path):
    content = "level,pump,T °C\n1,on,20\n".encode("cp1252")
    with pytest.raises(DatasetError, match="encoding: cp1252"):
        opened(tmp_path, content)
    assert levels(opened(tmp_path, content, encoding="cp1252", observation={"level": "T °C"})) == [[20]]


def test_parts_of_a_table_are_put_together_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1):
        pd.DataFrame({"level": [float(number)], "pump": ["on"]}).to_parquet(tmp_path / f"part-{number}.parquet")
        (tmp_path / f"{number}.csv").write_text(f"level,pump\n{number},on\n")
    assert levels(opened(tmp_path, tmp_path / "*.csv")) == [[1, 9, 10]]
    assert levels(opened(tmp_path, [tmp_path / "9.csv", tmp_path / "1.csv"])) == [[9, 1]]
    (tmp_path / "9.csv").write_text("level,pump\n9,on\nx,off\n")
    with pytest.raises(DatasetError, match=r"column level: 9\.csv, row 2: 'x' is no finite number"):
        opened(tmp_path, tmp_path / "*.csv")
    for path in tmp_path.glob("*.csv"):
        path.unlink()
    assert levels(opened(tmp_path, tmp_path)) == [[1, 9, 10]]
    pd.DataFrame({"level": [1.0], "other": ["on"]}).to_parquet(tmp_path / "part-11.parquet")
    with pytest.raises(DatasetError, match=r"part-11.parquet has other columns than .*part-1.parquet \(other, pump\)"):
        opened(tmp_path, tmp_path)


def test_tables_of_pandas_with_indices_numbers_and_doubled_names(tmp_path):
    log = pd.DataFrame({"level": [2.0, 1.0], "pump": ["on", "off"]})
    timed = log.set_index(pd.DatetimeIndex(["2026-01-02", "2026-01-01"], name="time"))
    timed.to_parquet(tmp_path / "timed.parquet")
    for table in (timed, tmp_path / "timed.parquet"):
        assert levels(opened(tmp_path, table, time="time")) == [[1, 2]]
    plain = pd.DataFrame([[1.0, "on"], [2.0, "off"]])
    assert levels(opened(tmp_path, plain, observation={"level": "0"}, action={"pump": "1"})) == [[1, 2]]
    with pytest.raises(DatasetError, match="the table has 2 columns 'level'; rename all but one"):
        opened(tmp_path, pd.concat([log, log[["level"]]], axis=1))


def test_types_of_pandas_with_empty_cells(tmp_path):
    log = pd.DataFrame({"level": [1.0, 2.0, 3.0], "pump": ["on", "off", "on"]})
    for level in (pd.array([1, None, 3], "Int64"), pd.array([1, None, 3], "Float32"), [1, None, 3], [1, None, "3"]):
        assert levels(opened(tmp_path, log.assign(level=level), observation={"level": {"missing": 0.5}})) == [
            [1, 0.5, 3]
        ]
    for pump, missing, wanted in (
        (pd.Categorical(["on", None, "on"]), "off", [1, 0, 1]),
        (pd.array([True, None, False], "boolean"), False, [1, 0, 0]),
        (pd.Categorical([3, 1, 3]), "refuse", [1, 0, 1]),
    ):
        entry = {"missing": missing} | ({"values": [1, 3]} if missing == "refuse" else {})
        (episode,) = opened(tmp_path, log.assign(pump=pump), action={"pump": entry}).episodes()
        assert episode["action"].tolist() == wanted


def test_csv_and_parquet_files_are_not_mixed(tmp_path):
    frame = pd.DataFrame({"level": [1.5], "pump": ["on"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "b.parquet")
    files = [tmp_path / "a.csv", tmp_path / "b.parquet"]
    with pytest.raises(DatasetError, match="CSV and Parquet files; import them one by one"):
        opened(tmp_path, files)


def test_a_row_that_is_larger_than_a_block_is_told(tmp_path):
    text = {"pump": {"text": "true"}}
    assert levels(opened(tmp_path, f"level,pump\n1,{'x' * 2**20}\n2,off\n", action=text)) == [[1, 2]]
    with pytest.raises(
        DatasetError, match=r"a row behind row 0 has more than 2 MiB; is a quotation mark never closed"
    ):
        opened(tmp_path, f"level,pump\n1,{'x' * 2**22}\n2,off\n", action=text)


# --- the YAML --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: A\nname: B", "the key 'name' stands twice"),
        ("name: A\nobservation: {level: {}, level: {}}\naction: {pump: {}}", "the key 'level' stands twice"),
        ("name: A\nobservation: {level: {}}\naction: {pump: {values: {on: 1, off: 0}}}", "values should be a list"),
        ("name: A\nobservation: {level: {}}\naction: {pump: {values: on}}", "values should be a list"),
        ("name: A\nobservation: {level: {unit: [m]}}\naction: {pump: {}}", "unit should be one word"),
        (
            "name: A\nobservation: {level: {units: {m: 2}}}\naction: {pump: {}}",
            "a factor above 0 for each unit, and 1",
        ),
        ("name: A\nobservation: {level: {units: m}}\naction: {pump: {}}", "should give each unit its factor"),
        ("name: [A]\nobservation: {level: {}}\naction: {pump: {}}", "name should be one word"),
        ("name: A\nobservation: {level: {scale: 0}}\naction: {pump: {}}", "scale is 0"),
        ("name: A\nobservation: {level: {low: nan}}\naction: {pump: {}}", "low should be a finite number"),
        ("name: A\nobservation: {level: [level, level]}\naction: {pump: {}}", "names 'level' twice"),
        ("name: A\nobservation: {level: {}}\naction: {pump: {}}\nseparator: ';;'", "separator should be one sign"),
        ("name: A\nobservation: {level: {}}\naction: {pump: {}}\ngaps: refuse", "gaps needs a step"),
        ("name: A\nobservation: {level: {}}\naction: {pump: {}}\nthousands: '.'", "thousands and decimal are both"),
        ("name: A\nobservation: {level: {}}\naction: {pump: {}}\nentity: {a: b}", "entity should be a list of words"),
        ("name: A\nobservation: {level: {}}\naction: {pump: {}}\ntime: {format: '%Y'}", "time should name its column"),
        (
            "x0: &x0 [1]\n" + "".join(f"x{n + 1}: &x{n + 1} [{f'*x{n},' * 9}]\n" for n in range(9)),
            "more than 1,000,000",
        ),
    ],
)
def test_a_layout_that_says_too_much_or_the_wrong_thing_is_refused(tmp_path, text, message):
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "columns.yaml").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_source("table", tmp_path / "log.csv", columns=tmp_path / "columns.yaml")


def test_exact_names_come_before_patterns(tmp_path):
    table = "a*,ab,pump\n1,2,on\n"
    (episode,) = opened(tmp_path, table, observation={"x": "a*"}).episodes()
    assert episode["observation"].tolist() == [[1]]


# --- the report ------------------------------------------------------------------------------------------------------


def test_the_report_says_how_each_column_was_read(tmp_path):
    table = 'time,level,pump,cost\n2026-01-01,"1,5 m",on,1\n2026-01-02,,off,2\n'
    source = opened(
        tmp_path,
        table,
        time="time",
        decimal=",",
        observation={"level": {"unit": "m", "missing": "previous"}},
        reward="cost",
    )
    report = preview(source, progress=False)
    by_name = {column.name: column for column in report.columns}
    level = by_name["level"]
    assert (level.role, level.unit, level.missing, level.first, level.last) == ("observation", "m", 0.5, 1.5, 1.5)
    assert level.how == "numbers, decimal sign ','" and level.notes == ["1 empty cells became the previous cell"]
    assert by_name["pump"].how == "one of 2 values" and by_name["time"].how == "dates, year-month-day"
    assert (report.episodes, report.steps, report.truncated, report.returns["mean"]) == (1, 2, 1, 3.0)


# --- columns that wait on the disk -----------------------------------------------------------------------------------


def test_a_wide_table_leaves_no_cells_in_memory(tmp_path):
    values = np.random.default_rng(0).normal(size=(20_000, 30)).round(1).astype(np.float32)
    frame = pd.DataFrame(values, columns=[f"sensor {at}" for at in range(30)])
    frame.assign(pump="on").to_csv(tmp_path / "log.csv", index=False)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    source = opened(tmp_path, tmp_path / "log.csv", observation={"sensors": {"columns": "sensor *"}})
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert pa.total_allocated_bytes() == before  # texts
    assert kept < values.nbytes / 2  # numbers of episodes, ends and rows, whatever the width
    (episode,) = source.episodes()
    assert np.array_equal(episode["observation"], values)


def test_a_disk_without_room_for_the_copy_is_told(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(UnwritableError, match=r"cannot take a copy of the table \(No space.*TMPDIR"):
        opened(tmp_path, LOG)
