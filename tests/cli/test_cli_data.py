"""``ldm import``, ``ldm dataset`` and how they fail; ``ldm push`` is in test_hub.py."""

from pathlib import Path

import gymnasium
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from ldm_hf.errors import DatasetError, SpaceMismatchError, UnknownEnvironmentError
from ldm_hf.trajectories import open_dataset
from ldm_hf.trajectories.writer import shards

from .running import ldm


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def write_log(rows=6):
    table = pd.DataFrame({"t": range(rows), "x": np.linspace(0, 1, rows), "do": ["left", "right"] * (rows // 2)})
    table.to_csv("log.csv", index=False)
    with open("log.yaml", "w") as file:
        file.write("name: Log-v0\ntime: t\nobservation: {x: {}}\naction: {do: {}}\n")


def test_from_a_log_to_a_checked_dataset():
    write_log()
    result = ldm(
        "import",
        "log.csv",
        "--from",
        "table",
        "--columns",
        "log.yaml",
        "--to",
        "data",
        "--task",
        "Go.",
        "--domain",
        "energy",
    )
    assert result.exit_code == 0, result.output
    assert "Log-v0 is in data/Log-v0; check it with: ldm dataset validate data" in result.output
    info = open_dataset("data")["Log-v0"].info
    assert (info.task, info.domain) == ("Go.", "energy")
    checked = ldm("dataset", "validate", "data")
    assert checked.exit_code == 0 and "data: 0 error(s), 1 warning(s)" in checked.output  # no reward
    shown = ldm("dataset", "describe", "data", "--output", "pictures")
    assert shown.exit_code == 0 and "Log-v0" in shown.output and "100.0%" in shown.output
    assert Path("pictures/Log-v0.png").read_bytes().startswith(b"\x89PNG")
    card = ldm("dataset", "card", "data", "--licence", "cc0-1.0", "--title", "Logs")
    assert card.exit_code == 0 and "license: cc0-1.0" in Path("data/README.md").read_text()


def test_a_mixture_draws_some_environments_more_often():
    write_log()
    imported = ldm("import", "log.csv", "--from", "table", "--columns", "log.yaml", "--to", "data")
    assert imported.exit_code == 0, imported.output
    written = ldm(
        "dataset", "mixture", "data", "--output", "mixed.yaml", "--factor", "Log-*=3", "--factor", "Log-v0=2"
    )
    assert written.exit_code == 0 and "--dataset mixed.yaml" in written.output
    assert yaml.safe_load(Path("mixed.yaml").read_text())["environments"] == {"Log-v0": 6.0}
    for wrong in ("Log-v0", "=2", "Log-v0=often", "Log-v0=-1", "Log-v0=inf"):
        refused = ldm("dataset", "mixture", "data", "--output", "mixed.yaml", "--factor", wrong)
        assert refused.exit_code == 2 and "should be NAME=NUMBER" in refused.output


def test_findings_are_listed_and_end_with_exit_code_1():
    write_log()
    assert ldm("import", "log.csv", "--from", "table", "--columns", "log.yaml", "--to", "data").exit_code == 0
    result = ldm("dataset", "validate", "data", "--reward-low", "1")
    assert result.exit_code == 1
    assert (
        "Log-v0: error (reward): the reward is outside of 1 to inf in 6 steps" in result.output
        and "1 error(s)" in result.output
    )
    assert ldm("dataset", "validate", "data", "--reward-low", "1", "--ignore", "reward").exit_code == 0


def write_carts(env):
    observations = [env.reset(seed=seed)[0] for seed in range(5)]
    with h5py.File("carts.hdf5", "w") as file:
        file["observations"], file["actions"] = np.stack(observations), np.array([0, 1, 1, 0, 1])
        file["rewards"], file["terminals"] = np.ones(5), np.arange(5) == 4


def test_an_environment_gives_spaces_task_and_licence():
    with gymnasium.make("CartPole-v1") as env:
        write_carts(env)
        assert ldm("import", "carts.hdf5", "--from", "d4rl", "--env", "CartPole-v1", "--to", "data").exit_code == 0
        stream = open_dataset("data")["CartPole-v1"]
        assert (stream.observation_space, stream.action_space) == (env.observation_space, env.action_space)
    assert stream.info.domain == "control" and stream.info.task and stream.info.env_id == "CartPole-v1"
    write_log()
    result = ldm("import", "log.csv", "--from", "table", "--columns", "log.yaml", "--env", "CartPole-v1", "--to", "x")
    assert isinstance(result.exception, SpaceMismatchError) and "shape [4] expected, [1] found" in str(
        result.exception
    )
    result = ldm("import", "carts.hdf5", "--from", "d4rl", "--env", "Pendulum-v1", "--to", "data")
    assert isinstance(result.exception, DatasetError) and "the space Box" in str(result.exception)
    assert isinstance(
        ldm("import", "carts.hdf5", "--from", "d4rl", "--env", "Cartpool", "--to", "x").exception,
        UnknownEnvironmentError,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["log.csv", "--from", "excel"], "no importer for 'excel'"),
        (["log.csv", "--from", "table"], "a table needs `columns`"),
        (
            ["log.csv", "--from", "table", "--columns", "log.yaml", "--image-size", "64"],
            "table has no option 'image_size'",
        ),
        (["none.csv", "--from", "table", "--columns", "log.yaml"], "there is no none.csv"),
        (["nowhere", "--from", "lerobot"], "nowhere is neither a folder nor a dataset on the Hub"),
    ],
)
def test_a_wrong_import_is_one_clear_error(monkeypatch, arguments, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_log()
    result = ldm("import", *arguments, "--to", "data")
    assert isinstance(result.exception, DatasetError) and message in str(result.exception)


@pytest.mark.parametrize("command", [("validate",), ("describe",), ("card",)])
def test_a_folder_that_is_no_dataset_is_one_clear_error(command):
    result = ldm("dataset", *command, ".")
    assert isinstance(result.exception, DatasetError), result.output


def test_a_damaged_shard_is_a_finding():
    write_log()
    ldm("import", "log.csv", "--from", "table", "--columns", "log.yaml", "--to", "data")
    (shard,) = shards(open_dataset("data")["Log-v0"].folder)
    shard.write_bytes(shard.read_bytes()[:99])
    result = ldm("dataset", "validate", "data")
    assert result.exit_code == 1 and "error (unreadable)" in result.output
