"""Rows of a table are in the order of their times, and in the episode that they belong to, or are refused."""

import pandas as pd
import pytest

from ldm_hf.errors import DatasetError

from .tables import levels, opened

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


def test_times_in_no_known_notation_ask_for_their_format(tmp_path):
    with pytest.raises(DatasetError, match=r"'2016-W12' is no time that can be read without its format"):
        opened(tmp_path, "t,level,pump\n2016-W12,1,on\n2017-W01,2,off\n", time="t")


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
