"""Operational logs: tables become streams as their YAML says, or are refused with the row."""

import numpy as np
import pandas as pd
import pytest
import yaml
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_hf.errors import DatasetError
from ldm_hf.importers import import_trajectories, open_source
from ldm_hf.trajectories import open_dataset, validate
from ldm_hf.trajectories.writer import of_episodes

TABLE = pd.DataFrame(
    {
        "site": ["b", "a", "a", "b", "a", "a", "b", "a"],
        "at": [
            "2026-01-01 00:15",
            "2026-01-01 00:00",
            "2026-01-01 00:15",
            "2026-01-01 00:00",
            "2026-01-01 00:45",
            "2026-01-01 00:30",
            "2026-01-01 00:30",
            "2026-01-01 01:00",
        ],
        "level_1": [20.0, 1.0, 2.0, 10.0, 4.0, 3.0, 30.0, 5.0],
        "level_2": [0.2, 0.01, 0.02, 0.1, 0.04, 0.03, 0.3, 0.05],
        "mode": ["heat", "off", "cool", "heat", "off", "off", "heat", "cool"],
        "valve": [0.5, 0.1, 0.2, 0.4, 0.4, 0.3, 0.6, 0.5],
        "cost": [2.0, 1.0, 1.0, 2.0, 1.0, 1.0, 2.0, 1.0],
        "failed": [0, 0, 0, 0, 0, 0, 1, 0],
    }
)
COLUMNS = {
    "name": "Tank-v0",
    "entity": "site",
    "time": "at",
    "observation": {"level": "level_*", "mode": None},
    "action": {"valve": {"low": 0, "high": 1}},
    "reward": {"columns": "cost", "scale": -1},
    "end": {"terminated": "failed"},
}


def source_of(table=TABLE, **changes):
    return open_source(
        "table", table, columns={key: value for key, value in (COLUMNS | changes).items() if value is not None}
    )


def episodes_of(table=TABLE, **changes):
    return list(source_of(table, **changes).episodes())


def with_cell(column, row, value):
    table = TABLE.copy()
    if not isinstance(value, float):
        table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return table


# --- what becomes of a table -----------------------------------------------------------------------------------------


def test_mixed_rows_become_an_episode_an_entity_in_the_order_of_time():
    source = source_of()
    second, first = source.episodes()  # in the order in which the entities appear
    assert second["observation"]["level"].tolist() == [
        [10, np.float32(0.1)],
        [20, np.float32(0.2)],
        [30, np.float32(0.3)],
    ]
    assert first["observation"]["level"][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert first["action"][:, 0].tolist() == np.float32([0.1, 0.2, 0.3, 0.4, 0.5]).tolist()
    assert first["reward"].tolist() == [-1] * 5 and second["reward"].tolist() == [-2] * 3
    assert first["observation"]["mode"].tolist() == [2, 0, 2, 2, 0]  # cool, heat, off
    assert second["terminated"].tolist() == [False, False, True] and not second["truncated"].any()
    assert not first["terminated"].any() and first["truncated"].tolist() == [False] * 4 + [True]
    assert source.observation_space == spaces.Dict(
        {"level": spaces.Box(-np.inf, np.inf, (2,)), "mode": spaces.Discrete(3)}
    )
    assert source.action_space == spaces.Box(0, 1, (1,))


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "semicolons"])
def test_files_of_every_kind(tmp_path, kind):
    further, path = "", tmp_path / f"log.{'csv' if kind == 'semicolons' else kind}"
    if kind == "parquet":
        TABLE.to_parquet(path)
    elif kind == "semicolons":
        TABLE.to_csv(path, index=False, sep=";", decimal=",")
        further = 'separator: ";"\ndecimal: ","\n'
    else:
        TABLE.to_csv(path, index=False)
    (tmp_path / "columns.yaml").write_text(further + yaml.safe_dump(COLUMNS))
    source = open_source("table", str(path), columns=tmp_path / "columns.yaml")
    info = import_trajectories(source, tmp_path / "data", progress=False)
    assert validate(tmp_path / "data", progress=False) == []
    stream = open_dataset(tmp_path / "data")["Tank-v0"]
    assert stream.episode_starts.tolist() == [0, 3, 8]
    steps = stream.slice(0, 8)
    assert np.array_equal(steps["label"][""], steps["action"][""])
    np.testing.assert_allclose(steps["action"][""][:, 0], [0.4, 0.5, 0.6, 0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)
    assert info.collection["columns"]["observation"]["mode"]["values"] == ["cool", "heat", "off"]
    assert info.collection["columns"]["action"]["valve"]["low"] == 0.0


def test_yaml_does_not_change_the_words_of_a_log(tmp_path):
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0], "switch": ["off", "on", "off"], "code": ["007", "010", "007"]})
    table.to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "c.yaml").write_text("name: S\nobservation: {x: {}}\naction: {switch: {values: [off, on]}}\n")
    (episode,) = open_source("table", tmp_path / "log.csv", columns=tmp_path / "c.yaml").episodes()
    assert episode["action"].tolist() == [0, 1, 0]


def test_gaps_in_time_cut_episodes_or_are_refused():
    table = TABLE.drop(index=5)  # a, 00:30
    lengths = [len(episode["reward"]) for episode in episodes_of(table, step="15min")]
    assert lengths == [3, 2, 2]
    assert [len(episode["reward"]) for episode in episodes_of(table)] == [3, 4]  # nobody said how far rows are apart
    with pytest.raises(
        DatasetError, match=r"column at: row 5: 0 days 00:30:00 after row 3, the step is 15min \(1 such gaps\)"
    ):
        episodes_of(table, step="15min", gaps="refuse")


def test_an_episode_column_cuts_too():
    table = TABLE.assign(batch=[1, 1, 1, 1, 2, 1, 1, 2])
    assert [len(episode["reward"]) for episode in episodes_of(table, episode="batch")] == [3, 3, 2]
    alone = {"entity": None, "time": None}
    with pytest.raises(
        DatasetError, match=r"column batch: row 6: episode 1 comes again behind another \(2 such rows\)"
    ):
        episodes_of(table, episode="batch", **alone)
    for again, lengths in (("same", [6, 2]), ("new", [4, 1, 2, 1])):
        told = {"column": "batch", "again": again}
        assert [len(e["reward"]) for e in episodes_of(table, episode=told, **alone)] == lengths


def test_without_time_the_order_of_the_file_counts():
    second, first = episodes_of(time=None)
    assert second["observation"]["level"][:, 0].tolist() == [20, 10, 30] and first["action"].shape == (5, 1)


def test_numeric_times_and_ends_by_value():
    table = TABLE.assign(at=[1, 0, 1, 0, 3, 2, 2, 9], status=["ok", "ok", "lost", "ok", "ok", "ok", "broken", "ok"])
    episodes = episodes_of(table, step="1", end={"terminated": {"column": "status", "values": ["broken", "lost"]}})
    assert [(len(e["reward"]), bool(e["terminated"][-1])) for e in episodes] == [
        (3, True),
        (2, True),
        (2, False),
        (1, False),
    ]


def test_units_scales_and_offsets():
    table = TABLE.assign(level_1=[f"{value} kW" if value > 3 else str(value) for value in TABLE.level_1])
    entry = {"columns": "level_1", "unit": "kW", "scale": 1000, "offset": 5}
    second, _ = episodes_of(table, observation={"power": entry})
    assert second["observation"][:, 0].tolist() == [10_005, 20_005, 30_005]
    with pytest.raises(
        DatasetError,
        match=r"column level_1: row 4: '7 MW' is no finite number; numbers may be written with the unit kW only",
    ):
        episodes_of(with_cell("level_1", 3, "7 MW").astype({"level_1": str}), observation={"power": entry})


def test_missing_cells_are_refused_carried_on_or_replaced():
    table = with_cell("level_1", 5, np.nan)
    with pytest.raises(
        DatasetError, match=r"observation.level: column level_1: row 6: the cell is empty \(1 such rows\)"
    ):
        episodes_of(table)
    _, first = episodes_of(table, observation={"level": {"columns": "level_1", "missing": "previous"}})
    assert first["observation"][:, 0].tolist() == [1, 2, 2, 4, 5]
    _, first = episodes_of(table, observation={"level": {"columns": "level_1", "missing": -7}})
    assert first["observation"][:, 0].tolist() == [1, 2, -7, 4, 5]
    with pytest.raises(DatasetError, match="row 2: the cell is empty at the beginning of an episode"):
        episodes_of(
            with_cell("level_1", 1, np.nan), observation={"level": {"columns": "level_1", "missing": "previous"}}
        )


def test_texts_vectors_of_choices_and_large_numbers():
    table = TABLE.assign(
        note=["a b", "", "ü", "a", "", "", "c", ""],
        left=[True, False] * 4,
        right=[False] * 8,
        big=1.7e9 + np.arange(8),
    )
    source = source_of(
        table,
        observation={"note": {"text": True, "missing": ""}, "big": {}},
        action={"hands": {"columns": ["left", "right"], "values": [False, True]}},
    )
    assert source.observation_space["note"] == spaces.Text(3, min_length=0, charset=" abcü")
    assert source.observation_space["big"].dtype == np.float64 and source.action_space == spaces.MultiDiscrete([2, 2])
    second, _ = source.episodes()
    assert second["observation"]["big"][:, 0].tolist() == [1.7e9 + 3, 1.7e9, 1.7e9 + 6]
    assert second["action"].tolist() == [[0, 0], [1, 0], [1, 0]]


def test_truth_values_with_empty_cells_stay_truth_values():
    table = TABLE.assign(alarm=[True, False, None, True, False, False, True, True])
    source = source_of(table, observation={"alarm": {"values": [False, True], "missing": "previous"}})
    second, first = source.episodes()
    assert second["observation"].tolist() == [1, 1, 1] and first["observation"].tolist() == [0, 0, 0, 0, 1]


def test_other_content_is_other_data(tmp_path):
    import_trajectories(source_of(), tmp_path, progress=False)
    import_trajectories(source_of(), tmp_path, progress=False)
    with pytest.raises(DatasetError, match="holds other data already"):
        import_trajectories(source_of(with_cell("valve", 0, 0.7)), tmp_path, progress=False)


def test_whole_numbers_as_actions_have_to_be_explained():
    table = TABLE.assign(order=[0, 1, 2, 3, 0, 1, 2, 3])
    with pytest.raises(
        DatasetError, match=r"action.order holds whole numbers: are they choices \(values: \[0, 1, 2\]\) or an amount"
    ):
        source_of(table, action={"order": {}})
    assert source_of(table, action={"order": {"values": [3, 2, 1, 0]}}).action_space == spaces.Discrete(4)
    assert source_of(table, action={"order": {"low": 0, "high": 9}}).action_space == spaces.Box(0, 9, (1,), np.int64)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 30))
def test_any_order_of_rows_gives_the_same_episodes(seed, entities, rows):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "who": rng.integers(0, entities, rows),
            "t": rng.permutation(1000)[:rows],
            "x": rng.normal(size=rows),
            "do": rng.choice(["a", "b"], rows),
        }
    )
    columns = {
        "name": "T",
        "entity": "who",
        "time": "t",
        "step": "40",
        "observation": {"x": {}},
        "action": {"do": {"values": ["a", "b"]}},
    }

    def read(shuffled):
        return sorted(
            (episode["observation"].tolist(), episode["action"].tolist(), episode["truncated"].tolist())
            for episode in open_source("table", shuffled, columns=columns).episodes()
        )

    first = read(table)
    assert first == read(table.sample(frac=1, random_state=seed % 1000))
    assert sum(len(actions) for _, actions, _ in first) == rows
    assert all(ends == [False] * (len(ends) - 1) + [True] for _, _, ends in first)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (with_cell("valve", 4, "open"), r"action.valve: column valve: row 5: 'open' is no finite number; .*values"),
        (with_cell("valve", 4, 1.5), r"action.valve: column valve: row 5: 1.5 is outside of 0 to 1"),
        (with_cell("valve", 4, np.inf), r"action.valve: column valve: row 5: inf is no finite number"),
        (
            with_cell("at", 6, "yesterday"),
            r"column at: row 7: 'yesterday' is no time like '2026-01-01 00:15'; give the format",
        ),
        (
            with_cell("at", 2, "2026-01-01 00:00"),
            r"column at: row 3: the same time as in row 2; name the entity column",
        ),
        (with_cell("failed", 0, "perhaps"), r"column failed: row 1: 'perhaps' is neither true nor false"),
        (with_cell("site", 3, None), r"column site: row 4: the cell is empty; it says where the row belongs"),
        (TABLE[:0], "the table has no rows"),
        (TABLE.assign(valve=[[0.1]] * 8), "a cell should be one number, word or date"),
        (TABLE.assign(cost="much"), "the reward column cost holds no numbers"),
    ],
    ids=["word", "bounds", "infinite", "time", "same time", "end", "entity", "no rows", "lists", "reward"],
)
def test_cells_that_cannot_be_read_are_refused_with_their_row(table, message):
    with pytest.raises(DatasetError, match=message):
        source_of(table)


def test_a_choice_that_is_none_is_refused_with_its_row():
    with pytest.raises(DatasetError, match=r"observation.mode: column mode: row 3: 'cool' is none of off, heat"):
        source_of(observation={"mode": {"values": ["off", "heat"]}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": {"level": {}}}, r"unknown key 'observations' \(did you mean 'observation'\?\)"),
        ({"name": None}, "does not say name"),
        ({"action": None}, "does not say action"),
        ({"action": {"valv": {}}}, r"the table has no column 'valv' \(did you mean 'valve'\?\); it has: site, at"),
        ({"action": {"valve": {"max": 1}}}, r"action.valve has the unknown key 'max'; known are: columns, values"),
        ({"action": {"valve": {"low": "zero"}}}, r"action.valve.low should be a number, is 'zero'"),
        ({"action": ["valve"]}, "action should have an entry for each of its parts"),
        ({"action": {"valve": {"low": 1, "high": 0}}}, r"action.valve: low 1 is above high 0"),
        (
            {"observation": {"mode": {"values": ["off", "heat", "off"]}}},
            r"mode.values names something twice: off, heat, off",
        ),
        ({"gaps": "fill"}, "gaps should be split or refuse, is 'fill'"),
        ({"step": "15min", "time": None}, "step needs a time column"),
        ({"step": "often"}, "step should be a length of time like 15min, is 'often'"),
        ({"end": {"done": "failed"}}, "end has the unknown key 'done'; known are: terminated, truncated"),
        ({"reward": {"columns": ["cost", "valve"]}}, "the reward comes from one column"),
    ],
    ids=str,
)
def test_a_wrong_layout_names_the_key(changes, message):
    with pytest.raises(DatasetError, match=message):
        source_of(**changes)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(COLUMNS))
    TABLE.to_parquet(tmp_path / "log.parquet")
    whole = (tmp_path / "log.parquet").read_bytes()
    (tmp_path / "log.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "log.csv").write_text("a,b\n1,2,3,4\n")
    (tmp_path / "bad.yaml").write_text("a: [")
    for name, columns, message in (
        ("log.parquet", "c.yaml", r"log\.parquet cannot be read"),
        ("log.csv", "c.yaml", "the table has no column"),
        ("log.xlsx", "c.yaml", r"there is no .*log\.xlsx"),
        ("c.yaml", "c.yaml", "is neither .csv nor .parquet"),
        ("log.csv", "bad.yaml", r"bad\.yaml is no YAML"),
        ("log.csv", "none.yaml", r"there is no .*none\.yaml"),
    ):
        with pytest.raises(DatasetError, match=message):
            open_source("table", tmp_path / name, columns=tmp_path / columns)


def test_episodes_remember_their_entity_and_time(tmp_path):
    import_trajectories(source_of(), tmp_path, progress=False)
    folder = tmp_path / "Tank-v0"
    assert of_episodes(folder, "entity", "") == ["b", "a"]
    assert of_episodes(folder, "time", "") == ["2026-01-01T00:00:00", "2026-01-01T00:00:00"]
    assert not [found for found in validate(tmp_path) if found.kind == "columns"]
