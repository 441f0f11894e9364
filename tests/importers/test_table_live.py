"""Rows that come one at a time are read as the import read them."""

import numpy as np
import pytest

from ldm_hf.errors import DatasetError
from ldm_hf.importers import RowReader, import_trajectories, open_source
from ldm_hf.spaces import flatten, unflatten
from ldm_hf.trajectories import open_dataset

TABLE = """time;level;flow;state;note;pump;valve a;valve b;cost
1;120,5 cm;1,5;open;;off;1.000,5;2;1,5 €
2;1,3 m;---;shut;odd;full;20,25;3;2,5 €
3;140 cm;2,5;shut;;half;0;3;1.234,5 €
"""
COLUMNS = {
    "name": "Plant-v0",
    "separator": ";",
    "decimal": ",",
    "thousands": ".",
    "time": "time",
    "observation": {
        "level": {"units": {"m": 1, "cm": 0.01}},
        "flow": {"empty": "---", "missing": "previous"},
        "state": {},
        "note": {"text": "true", "missing": "none"},
    },
    "action": {
        "pump": {"values": ["off", "half", "full"]},
        "valves": {"columns": "valve *", "scale": 0.5, "offset": 1, "low": 0, "high": 1000},
    },
    "reward": {"columns": "cost", "unit": "€", "scale": -1},
}


def imported(folder, columns):
    (folder / "log.csv").write_text(TABLE)
    import_trajectories(open_source("table", folder / "log.csv", columns=columns), folder / "data", progress=False)
    return open_dataset(folder / "data")["Plant-v0"]


@pytest.mark.parametrize("single", [False, True])
def test_rows_become_what_the_import_stored(tmp_path, single):
    parts = {"observation": {"level": COLUMNS["observation"]["level"]}, "action": {"pump": COLUMNS["action"]["pump"]}}
    stream = imported(tmp_path, COLUMNS | parts if single else COLUMNS)
    header, *lines = (line.split(";") for line in TABLE.splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    steps, reader = stream.slice(0, 3), RowReader(stream.info)
    for number, row in enumerate(rows):
        observation = reader.observation(row)
        assert observation in stream.observation_space
        for path, value in flatten(stream.observation_space, observation).items():
            assert np.array_equal(value, steps["observation"][path][number]), (path, number)
        assert reader.reward(row) == steps["reward"][number]
        action = unflatten(stream.action_space, {path: values[number] for path, values in steps["action"].items()})
        done = reader.action(row)
        assert done in stream.action_space
        for path, value in flatten(stream.action_space, done).items():
            assert np.array_equal(value, steps["action"][path][number]), (path, number)
        for column, cell in reader.cells(action).items():
            assert cell == row[column].replace(".", ""), column


def test_what_cannot_be_read_names_the_column(tmp_path):
    stream = imported(tmp_path, COLUMNS)
    reader = RowReader(stream.info)
    good = {"level": "1 m", "flow": "2,5", "state": "open", "note": ""}
    assert reader.observation(good)["level"] == 1
    for change, message in (
        ({"level": "1,2"}, "Plant-v0: observation.level: column level: .*should be written with one of m, cm"),
        ({"state": "ajar"}, "observation.state: column state: .*'ajar' is none of open, shut"),
        ({"flow": "x"}, "observation.flow: column flow: .* is no finite number"),
        ({"level": ""}, "the cell is empty"),
    ):
        with pytest.raises(DatasetError, match=message):
            reader.observation(good | change)
    with pytest.raises(DatasetError, match="the row has no column flow; it has level"):
        reader.observation({"level": "1 m"})
    fresh = RowReader(stream.info)
    with pytest.raises(DatasetError, match="the cell is empty at the beginning"):
        fresh.observation(good | {"flow": "---"})
    for damaged in (
        {"observation": {}},
        {"observation": 3, "action": {}},
        {"observation": {"level": 3}, "action": {}},
    ):
        stream.info.collection["columns"] = damaged
        with pytest.raises(DatasetError, match="what the dataset keeps of the import of Plant-v0 is damaged"):
            RowReader(stream.info)
    stream.info.collection.clear()
    with pytest.raises(DatasetError, match="Plant-v0 was not imported from a table"):
        RowReader(stream.info)
