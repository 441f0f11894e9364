"""`ldm collect`."""

import json
from types import SimpleNamespace

import pyarrow.parquet as pq

from ldm_hf.cli import collect as cli_collect
from ldm_hf.errors import LDMError
from ldm_hf.trajectories import open_dataset

from .running import ldm


def test_collect_writes_a_dataset(collected, monkeypatch):
    result, folder = collected
    assert result.exit_code == 0
    assert "1 environments in" in result.stdout.replace("\n", " ")
    assert {path.name for path in folder.iterdir()} == {"README.md", "FrozenLake-v1"}
    stream = open_dataset(folder)["FrozenLake-v1"]
    assert 300 <= stream.num_steps < 300 + 100
    told = json.loads((folder / "FrozenLake-v1" / "environment.json").read_text())
    assert told["scores"]["reference"]["mean"] > told["scores"]["random"]["mean"]


def test_collect_continues_a_dataset(tmp_path):
    lengths = []
    for steps in ("100", "200", "200"):
        result = ldm(
            "collect", "--ids", "FrozenLake-v1", "--steps-per-env", steps, "--jobs", "1", "--output", tmp_path
        )
        assert result.exit_code == 0
        lengths.append(open_dataset(tmp_path)["FrozenLake-v1"].num_steps)
    assert 100 <= lengths[0] < 200 <= lengths[1] == lengths[2]


def test_collect_stops_in_an_environment_when_its_time_is_over(tmp_path):
    arguments = ("collect", "--ids", "FrozenLake-v1", "--jobs", "1", "--output", tmp_path)
    result = ldm(*arguments, "--steps-per-env", "1000000", "--seconds-per-env", "0.2")
    some = open_dataset(tmp_path)["FrozenLake-v1"].num_steps
    assert result.exit_code == 0 and "Estimate" not in result.stdout and 0 < some < 1_000_000
    planned = ldm(*arguments, "--steps-per-env", "1000000", "--seconds-per-env", "0.2", "--dry-run")
    assert "Estimate of 1 environments" in planned.stdout and "In all 1,000,000 steps" not in planned.stdout
    ldm(*arguments, "--steps-per-env", "1000000", "--seconds-per-env", "0")  # one episode more
    assert some < open_dataset(tmp_path)["FrozenLake-v1"].num_steps <= some + 100


def test_collect_reports_failures_and_goes_on(tmp_path):
    arguments = (
        "--ids",
        "Acrobot-v1,FrozenLake-v1",
        "--steps-per-env",
        "50",
        "--jobs",
        "1",
        "--output",
        tmp_path / "data",
    )
    result = ldm("collect", *arguments, "--references", tmp_path / "none")
    text = result.stdout.replace("\n", " ")
    assert result.exit_code == 1
    assert "1 environments in" in text
    assert "failed: Acrobot-v1: no reference policy" in text and "ldm reference --ids Acrobot-v1" in text
    assert set(open_dataset(tmp_path / "data")) == {"FrozenLake-v1"}


def test_collect_estimates_first(tmp_path):
    arguments = ("--ids", "FrozenLake-v1,CartPole-v1", "--steps-per-env", "2000", "--jobs", "1", "--output", tmp_path)
    result = ldm("collect", *arguments, "--dry-run")
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0 and not list(tmp_path.iterdir())
    assert "Estimate of 2 environments; 0 are complete" in text and "In all 4,000 steps: about" in text
    assert "MB are free" in text


def test_collect_refuses_what_the_disk_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(cli_collect.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    result = ldm(
        "collect", "--ids", "FrozenLake-v1", "--steps-per-env", "2000", "--jobs", "1", "--output", tmp_path / "data"
    )
    assert isinstance(result.exception, LDMError) and "too little space" in str(result.exception)
    assert not (tmp_path / "data").exists()


def test_collect_draws_numbers_that_the_data_name(tmp_path):
    arguments = ("--ids", "Pendulum-v1,Taxi-v4", "--drawn", "2", "--steps-per-env", "200", "--jobs", "1")
    assert ldm("collect", *arguments, "--output", tmp_path).exit_code == 0
    infos = [stream.info for stream in open_dataset(tmp_path).values()]
    assert [info.name for info in infos] == ["Pendulum-v1-drawn-0", "Pendulum-v1-drawn-1"]
    assert infos[0].kwargs != infos[1].kwargs and all(info.kwargs for info in infos)
    assert infos[0].task == infos[1].task == "Swing the pendulum up and keep it upright."
    assert all(info.scores["reference"]["mean"] > info.scores["random"]["mean"] for info in infos)


def test_collect_everything_has_to_be_said(tmp_path):
    result = ldm("collect", "--output", tmp_path)
    assert isinstance(result.exception, LDMError) and "--all" in str(result.exception)


def test_collect_lets_a_model_act(collected, model, tmp_path):
    arguments = ("--ids", "FrozenLake-v1", "--steps-per-env", "100", "--jobs", "1", "--output", tmp_path)
    result = ldm("collect", *arguments, "--student", model, "--mix", "0.25")
    assert result.exit_code == 0, result.stdout
    table = pq.read_table(tmp_path / "FrozenLake-v1" / "train-00000.parquet", columns=["behaviour"])
    assert set(table["behaviour"].to_pylist()) == {"student-0.25"}
