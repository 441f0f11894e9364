"""Every cell of a table arrives, or is refused with its row: rows, words, notations, digits, units."""

import numpy as np
import pandas as pd
import pytest
from gymnasium import spaces

from ldm_hf.errors import DatasetError
from ldm_hf.importers import preview
from ldm_hf.importers.precision import single_suffices

from .tables import LOG, levels, opened

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


def test_what_is_empty_for_one_part_is_a_word_for_another(tmp_path):
    parts = {"observation": {"mode": {"empty": "off", "missing": "previous"}}}
    source = opened(tmp_path, "mode\nauto\noff\nauto\n", **parts, action={"mode": {"values": ["off", "auto"]}})
    (episode,) = source.episodes()
    assert episode["observation"].tolist() == [0, 0, 0] and episode["action"].tolist() == [1, 0, 1]


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


# --- types, choices, units -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [np.array([1 + 2j, 3]), pd.period_range("2026-01", "2026-02", freq="M"), pd.interval_range(0, 2)],
    ids=["complex", "periods", "intervals"],
)
def test_types_that_are_no_numbers_words_or_dates_are_named(tmp_path, cells):
    with pytest.raises(DatasetError, match=r"column level: row 1: cells of type .* are no numbers, words or dates"):
        opened(tmp_path, pd.DataFrame({"level": cells, "pump": ["on", "off"]}))


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
