"""Every cell of a table arrives, or is refused with its row: notations, words, times, files, episodes."""

import errno
import gzip
import io
import tempfile
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from gymnasium import spaces

from ldm_hf.errors import DatasetError, UnwritableError
from ldm_hf.importers import open_source, preview
from ldm_hf.importers.precision import single_suffices

BASE = {"name": "T-v0", "observation": {"level": {}}, "action": {"pump": {}}}
LOG = "level,pump\n1.5,on\n2.5,off\n"


def opened(folder, table, name="log.csv", **columns):
    if isinstance(table, str | bytes):
        (folder / name).write_bytes(table if isinstance(table, bytes) else table.encode())
        table = folder / name
    return open_source("table", table, columns=BASE | columns)


def levels(source):
    return [episode["observation"].reshape(len(episode["reward"]), -1)[:, 0].tolist() for episode in source.episodes()]


# --- rows and cells --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,2,3\n", r"row 1 has 3 cells, the header has 2: '1,2,3'"),
        ("1,on\n2\n", r"row 2 has 1 cells, the header has 2"),
        ("1,on\n2,off,\n", r"row 2 has 3 cells"),
        ("1,on,\n2,off\n", r"row 2 has 2 cells"),
        ("1,on,\n2,off,x\n", r"row 2 has 3 cells"),
        ('1,"on\n2,off\n3,on\n', "quotation mark that does not enclose a whole cell"),
        ('"1"2,on\n', "quotation mark"),
    ],
)
def test_rows_with_more_or_fewer_cells_than_the_header_are_refused(tmp_path, rows, message):
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path, "level,pump\n" + rows)


def test_a_separator_at_the_end_of_every_row_moves_nothing(tmp_path):
    source = opened(tmp_path, "level,pump\n10.5,on,\n20.5,off,\n")
    assert levels(source) == [[10.5, 20.5]]
    assert "every row ends with a separator" in preview(source, progress=False).notes[0]


def test_words_that_look_empty_are_words_where_words_stand(tmp_path):
    choice = {"pump": {"values": ["None", "low", "NA"], "missing": "previous"}}
    (episode,) = opened(tmp_path, "level,pump\n1,low\n2,None\n3,NA\n4,\n", action=choice).episodes()
    assert episode["action"].tolist() == [1, 0, 2, 2]
    end = {"terminated": {"column": "state", "values": ["NA"]}}
    source = opened(tmp_path, "level,pump,state\n1,a,OK\n2,b,NA\n3,a,OK\n", end=end)
    assert levels(source) == [[1, 2], [3]]
    source = opened(tmp_path, "region,level,pump\nNA,1,a\nNone,2,b\n,3,b\n".replace(",3,b\n", ""), entity="region")
    assert levels(source) == [[1], [2]]
    assert opened(tmp_path, "level,pump\n1,null\n2,a\n").action_space == spaces.Discrete(2)


def test_words_that_look_empty_are_empty_among_numbers(tmp_path):
    for word in ("NA", "null", "NaN", ""):
        with pytest.raises(DatasetError, match="row 2: the cell is empty"):
            opened(tmp_path, f"level,pump\n1,on\n{word},off\n")
    source = opened(tmp_path, "level,pump\n1,on\n---,off\n", observation={"level": {"empty": ["---"], "missing": "7"}})
    assert levels(source) == [[1, 7]]


# --- numbers in another notation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [
    ("1.234,5", "345,5"), ("1,234", "2,345"), ("1.5 m", "10.5 m"), ("10%", "9%"), ("€ 5", "€ 6"), ("EUR 5", "EUR 6"),
    ("1,5", "---"), ("<0.1", "<0.2"), ("(5)", "(6)"), ("007", "012"), ("5e", "6e"), ("1st", "2nd"), ("½", "¼"),
    ("2026-03-01", "2026-03-02"), ("1 Mar 2026", "2 Mar 2026"), ("Mar 5, 2026", "Mar 6, 2026"), ("12:30", "12:45"),
    ("PT5M", "PT6M"), ("1 234", "2 345"), ("1'234", "2'345"), ("inf", "-inf"), ("5-", "6-"), ("0x1F", "0x2F"),
])  # fmt: skip
@pytest.mark.parametrize("role", ["observation", "action"])
def test_numbers_in_another_notation_do_not_become_choices(tmp_path, cells, role):
    table = "level;pump\n" + "".join(f"{cell};{cell}\n" for cell in cells)
    other = {"observation": "action", "action": "observation"}[role]
    part = {"observation": "level", "action": "pump"}[role]
    known = {other: {{"level": "pump", "pump": "level"}[part]: {"words": "true"}}}
    with pytest.raises(DatasetError, match=rf"{role}.{part}: column {part}: row 1"):
        opened(tmp_path, table, separator=";", **known)
    source = opened(tmp_path, table, separator=";", **known, **{role: {part: {"words": True}}})  # unless a key says so
    assert spaces.Discrete(2) in (source.observation_space, source.action_space)


@pytest.mark.parametrize(
    ("cells", "layout", "entry", "wanted"),
    [
        (("1.234,5", "345,5"), {"decimal": ",", "thousands": "."}, {}, [1234.5, 345.5]),
        (("1,234", "2,345.5"), {"thousands": ","}, {}, [1234, 2345.5]),
        (("1 234", "2 345,5"), {"thousands": " ", "decimal": ","}, {}, [1234, 2345.5]),
        (("3,5 kW", "4,0 kW"), {"decimal": ","}, {"unit": "kW"}, [3.5, 4]),
        (("10%", "9 %"), {}, {"unit": "%", "scale": 0.5}, [5, 4.5]),
        (("€ 5", "-6 €"), {}, {"unit": "€"}, [5, -6]),
        (("007", "-012"), {}, {"scale": 1}, [7, -12]),
        (("+1e3", "\N{MINUS SIGN}5"), {}, {}, [1000, -5]),
        (("1,5", ""), {"decimal": ","}, {"missing": "0,5"}, [1.5, 0.5]),
        (("1,5", ""), {"decimal": ","}, {"missing": 0.5}, [1.5, 0.5]),
    ],
)
def test_numbers_in_a_notation_that_is_named_are_read(tmp_path, cells, layout, entry, wanted):
    table = "level;pump\n" + "".join(f"{cell};on\n" for cell in cells)
    assert levels(opened(tmp_path, table, separator=";", observation={"level": entry}, **layout)) == [wanted]


def test_a_point_is_no_decimal_point_where_the_comma_is_one(tmp_path):
    with pytest.raises(DatasetError, match=r"'1\.234' reads like a number in another notation"):
        opened(tmp_path, "level;pump\n1.234;on\n2.345;off\n", separator=";", decimal=",")


def test_keys_of_numbers_hold_for_numbers_only(tmp_path):
    for table, entry in (("10%", {"low": 0}), ("True", {"low": 0, "high": 1}), ("on", {"scale": 2})):
        with pytest.raises(DatasetError, match="is no finite number"):
            opened(tmp_path, f"level,pump\n{table},on\n", observation={"level": entry})
    with pytest.raises(DatasetError, match=r"says values and unit, scale"):
        opened(tmp_path, LOG, action={"pump": {"values": ["on", "off"], "low": 0}})


def test_dates_and_durations_of_pandas_are_no_choices(tmp_path):
    table = pd.DataFrame({"level": pd.date_range("2026-01-01", periods=2), "pump": ["on", "off"]})
    with pytest.raises(DatasetError, match="a date is no part of an observation"):
        opened(tmp_path, table)
    table = table.assign(level=pd.to_timedelta([5, 90], "s"))
    with pytest.raises(DatasetError, match="is a duration; name the unit"):
        opened(tmp_path, table)
    assert levels(opened(tmp_path, table, observation={"level": {"unit": "min"}})) == [[5 / 60, 1.5]]


# --- digits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pair", ["9999999990.01 10000000000.00", "9999999990.01 0.5", "16777216 16777216.5", "0.1 0.10000000149011612"]
)
def test_a_number_that_single_precision_rounds_onto_another_keeps_both_apart(tmp_path, pair):
    first, second = pair.split()
    source = opened(tmp_path, f"level,pump\n{first},on\n{second},off\n")
    assert levels(source) == [[float(first), float(second)]]


def test_numbers_with_more_digits_than_a_single_are_no_singles(tmp_path):
    """Only what is a single, written with as many digits as it has, is one: not what happens to be near one."""
    singles = np.random.default_rng(0).lognormal(0, 9, 300).astype(np.float32)
    for digits in (10, 12, 16, 17):
        written = [f"{float(x):.{digits}g}" for x in singles]
        assert single_suffices(np.array(written, float)), digits
    for near in singles.astype(float) * (1 + 3e-10):
        assert not single_suffices(np.array([near]))


def test_different_numbers_stay_different(tmp_path):
    table = pd.DataFrame(
        {
            "meter": 1_000_000 + 0.01 * np.arange(6),
            "lon": 151.2093 + 1e-6 * np.arange(6),
            "id": 2**60 + np.arange(6),
            "plain": np.arange(6) / 10,
            "order": 123_456_789.0 + 0.5 * np.arange(6),
            "big": 2**53 + np.arange(6),
        }
    )
    observation = {name: {} for name in ("meter", "lon", "id", "plain")}
    source = opened(tmp_path, table, observation=observation, action={"order": {}, "big": {"low": 0, "high": 2**60}})
    (episode,) = source.episodes()
    for name, values in (episode["observation"] | episode["action"]).items():
        assert values[:, 0].tolist() == (table[name] if name != "plain" else table[name].astype(np.float32)).tolist()
    assert source.observation_space["plain"].dtype == np.float32 and source.observation_space["id"].dtype == np.int64
    with pytest.raises(DatasetError, match="more than 64 bits"):
        opened(tmp_path, f"level,pump\n{2**70},on\n")


def test_numbers_are_as_the_file_writes_them(tmp_path):
    cells = ["0.1", "3.141592653589793", "1e-300", "123456789012345678", "179769313486231570000000000000000000000"]
    table = "level,pump\n" + "".join(f"{cell},on\n" for cell in cells)
    with pytest.raises(DatasetError, match="more digits than a real number holds"):
        opened(tmp_path, "a,b,pump\n123456789012345678,0.5,on\n", observation={"both": {"columns": ["a", "b"]}})
    assert levels(opened(tmp_path, table.replace("123456789012345678", "7"))) == [
        [float(cell.replace("123456789012345678", "7")) for cell in cells]
    ]


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "key", "order"),
    [
        (["01.03.2026", "02.03.2026", "01.04.2026"], "time", [0, 1, 2]),
        (["1.3.26 9:00", "1.3.26 10:00", "2.3.26 1:00"], "time", [0, 1, 2]),
        (["13/03/2026", "02/04/2026", "03/04/2026"], "time", [0, 1, 2]),
        (["03/13/2026", "04/02/2026", "05/01/2026"], "time", [0, 1, 2]),
        (["30012026", "31012026", "01022026"], {"column": "time", "format": "%d%m%Y"}, [0, 1, 2]),
        (["0059", "0100", "1000"], {"column": "time", "format": "%H%M"}, [0, 1, 2]),
        (["2026-03-01 00:00:00", "2026-03-01 00:00:00.5", "2026-03-01T00:00:01"], "time", [0, 1, 2]),
        (["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00", "2026-03-29T02:00Z"], "time", [0, 1, 2]),
        (["1 Mar 2026", "2 Mar 2026", "1 Apr 2026"], "time", [0, 1, 2]),
        (["3/13/2026 9:00 AM", "3/13/2026 1:00 PM", "3/14/2026 1:00 AM"], "time", [0, 1, 2]),
        (["2026-10-25 02:30 CEST", "2026-10-25 02:30 CET", "2026-10-25 03:00 CET"],
         {"column": "time", "zone": "Europe/Berlin"}, [0, 1, 2]),
        (["10", "9", "100"], "time", [1, 0, 2]),
        (["20260130", "20260131", "20260201"], {"column": "time", "format": "number"}, [0, 1, 2]),
    ],
)  # fmt: skip
def test_times_are_in_their_order(tmp_path, times, key, order):
    table = "time,level,pump\n" + "".join(f"{time},{number},on\n" for number, time in enumerate(times))
    assert levels(opened(tmp_path, table, time=key)) == [order]


@pytest.mark.parametrize(
    ("times", "key", "message"),
    [
        (["01/03/2026", "02/03/2026"], "time", "day first or month first"),
        (["20260130", "20260131"], "time", "could be a date or a number"),
        (["31.02.2026", "01.03.2026"], "time", "is no time; such a day or hour does not exist"),
        (["2026-03-01 00:00 CET", "2026-03-01 01:00 CET"], "time", "names a time zone by letters"),
        (["2026-10-25 02:30", "2026-10-25 04:30"], {"column": "time", "zone": "Europe/Berlin"}, "comes twice"),
        (["2026-03-29 02:30", "2026-10-25 04:30"], {"column": "time", "zone": "Europe/Berlin"}, "does not exist"),
        (["2026-03-01 00:00Z", "2026-03-01 01:00"], "time", "names no time zone, other rows do"),
        (["2026-03-01", "yesterday"], "time", "'yesterday' is no time like '2026-03-01'"),
        (["2026-03-01", ""], "time", "row 2: '' is no time"),
    ],
)
def test_times_that_could_be_two_are_refused(tmp_path, times, key, message):
    table = "time,level,pump\n" + "".join(f"{time},{number},on\n" for number, time in enumerate(times))
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path, table, time=key)


def test_a_date_and_a_time_of_day_are_one_time(tmp_path):
    table = "day,clock,level,pump\n02.03.2026,01:00,2,on\n01.03.2026,23:00,1,off\n"
    source = opened(tmp_path, table, time=["day", "clock"], step="2h")
    assert levels(source) == [[1, 2]]
    assert source.report.columns[0].first == "2026-03-01 23:00:00"


def test_digits_of_a_table_of_pandas_keep_their_leading_zeros(tmp_path):
    table = pd.DataFrame({"time": [30012026, 31012026, 1022026], "level": [0, 1, 2], "pump": "on"})
    assert levels(opened(tmp_path, table, time={"column": "time", "format": "%d%m%Y"})) == [[0, 1, 2]]


@pytest.mark.parametrize("step", ["0", "-15min", "0s", "1", "often"])
def test_steps_have_a_length(tmp_path, step):
    with pytest.raises(DatasetError, match="step should be"):
        opened(tmp_path, "time,level,pump\n2026-01-01,1,on\n", time="time", step=step)


# --- episodes --------------------------------------------------------------------------------------------------------


def test_episode_numbers_that_start_again_are_refused_or_told_apart(tmp_path):
    table = "episode,level,pump\n0,1,on\n0,2,off\n1,3,on\n0,7,on\n0,8,off\n1,9,on\n"
    with pytest.raises(DatasetError, match=r"row 4: episode '0' comes again behind another \(2 such rows\)"):
        opened(tmp_path, table, episode="episode")
    assert levels(opened(tmp_path, table, episode={"column": "episode", "again": "new"})) == [[1, 2], [3], [7, 8], [9]]
    assert levels(opened(tmp_path, table, episode={"column": "episode", "again": "same"})) == [[1, 2, 7, 8], [3, 9]]


def test_an_end_that_stays_on_is_refused_or_decided(tmp_path):
    table = "level,pump,failed\n1,on,0\n2,on,1\n3,on,1\n4,on,0\n"
    with pytest.raises(DatasetError, match=r"row 3 is an end again, right behind one"):
        opened(tmp_path, table, end={"terminated": "failed"})
    for repeated, wanted in (("each", [[1, 2], [3], [4]]), ("drop", [[1, 2], [4]])):
        assert (
            levels(opened(tmp_path, table, end={"terminated": {"column": "failed", "repeated": repeated}})) == wanted
        )


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


def test_values_of_choices_are_compared_as_what_they_are(tmp_path):
    for values, cells, wanted in (
        (["0.0", "0.5", "1e0"], ["0", "0.50", "1"], [0, 1, 2]),
        (["007", "012"], ["012", "007"], [1, 0]),
        (["7", "007"], ["007", "7"], [1, 0]),
        ([False, True], ["True", "FALSE"], [1, 0]),
        (["0,5", "1,5"], ["1,50", "0,5"], [1, 0]),
    ):
        table = "level;pump\n" + "".join(f"1;{cell}\n" for cell in cells)
        decimal = {"decimal": ","} if "," in str(values[0]) else {}
        (episode,) = opened(tmp_path, table, separator=";", action={"pump": {"values": values}}, **decimal).episodes()
        assert episode["action"].tolist() == wanted


def test_cells_in_several_units_become_numbers_of_one(tmp_path):
    units = {"m": 1, "cm": 0.01, "mm": 0.001}
    table = 'level;pump\n"120,5 cm";on\n1,3m;off\n2000 mm;on\n'
    source = opened(tmp_path, table, separator=";", decimal=",", observation={"level": {"units": units}})
    (episode,) = source.episodes()
    assert episode["observation"][:, 0].tolist() == pytest.approx([1.205, 1.3, 2])
    (level,) = [column for column in preview(source, progress=False).columns if column.name == "level"]
    assert (level.unit, level.how) == ("m", "numbers, decimal sign ',', cm times 0.01, mm times 0.001")
    for cell in ("5", "5 ft"):
        with pytest.raises(DatasetError, match=rf"row 2: '{cell}' .* should be written with one of m, cm, mm"):
            opened(tmp_path, f"level,pump\n1 m,on\n{cell},off\n", observation={"level": {"units": units}})


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


def test_csv_and_parquet_files_are_not_mixed(tmp_path):
    frame = pd.DataFrame({"level": [1.5], "pump": ["on"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "b.parquet")
    files = [tmp_path / "a.csv", tmp_path / "b.parquet"]
    with pytest.raises(DatasetError, match="CSV and Parquet files; import them one by one"):
        opened(tmp_path, files)


def test_what_is_empty_for_one_part_is_a_word_for_another(tmp_path):
    parts = {"observation": {"mode": {"empty": "off", "missing": "previous"}}}
    source = opened(tmp_path, "mode\nauto\noff\nauto\n", **parts, action={"mode": {"values": ["off", "auto"]}})
    (episode,) = source.episodes()
    assert episode["observation"].tolist() == [0, 0, 0] and episode["action"].tolist() == [1, 0, 1]


# --- what no notation covers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [np.array([1 + 2j, 3]), pd.period_range("2026-01", "2026-02", freq="M"), pd.interval_range(0, 2)],
    ids=["complex", "periods", "intervals"],
)
def test_types_that_are_no_numbers_words_or_dates_are_named(tmp_path, cells):
    with pytest.raises(DatasetError, match=r"column level: row 1: cells of type .* are no numbers, words or dates"):
        opened(tmp_path, pd.DataFrame({"level": cells, "pump": ["on", "off"]}))


def test_times_in_no_known_notation_ask_for_their_format(tmp_path):
    with pytest.raises(DatasetError, match=r"'2016-W12' is no time that can be read without its format"):
        opened(tmp_path, "t,level,pump\n2016-W12,1,on\n2017-W01,2,off\n", time="t")


def test_a_row_that_is_larger_than_a_block_is_told(tmp_path):
    text = {"pump": {"text": "true"}}
    assert levels(opened(tmp_path, f"level,pump\n1,{'x' * 2**20}\n2,off\n", action=text)) == [[1, 2]]
    with pytest.raises(
        DatasetError, match=r"a row behind row 0 has more than 2 MiB; is a quotation mark never closed"
    ):
        opened(tmp_path, f"level,pump\n1,{'x' * 2**22}\n2,off\n", action=text)
