"""The comparison of memories: every arm trains, plays and is timed, and runs are not repeated."""

import importlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec
from ldm_hf.trajectories import open_dataset

from .. import fork_server

FOLDER = Path(__file__).parents[2] / "benchmarks"
FIRST, SECOND = "today, 32 x 3", "a: 32, 32, 512, hidden actions"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    plan = Plan(str(folder / "trajectories"), steps=5200)
    assert not collect([get_spec("CartPole-v1")], plan, progress=False)
    return folder


def test_every_arm_trains(work, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    windows = importlib.import_module("windows")
    streams, args = open_dataset(work / "trajectories"), SimpleNamespace(width=32, minutes=1e-9, model=None)
    for name, arm in windows.MEMORIES.items():
        model, processor, updates = windows.train(arm, args, streams, seed=0)
        assert updates == 1 and model.config.windows == list(arm.windows), name
        kind, share = windows.disagreement(model, processor, streams, known=True)["CartPole-v1"]
        assert kind == "wrong" and 0 <= share <= 1
    shares = [(arm.hidden, arm.repeated) for arm in windows.ARMS.values()]
    assert shares == [pair for pair in ((0.0, 1.0), (0.5, 1.0), (0.0, 0.2), (0.5, 0.2)) for _ in range(7)]


def test_a_pretrained_model_is_continued_with_an_arms_windows(work, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    windows = importlib.import_module("windows")
    arms = windows.MEMORIES
    windows.starting(arms[FIRST], 32, None).save_pretrained(tmp_path)
    for name in ("a: 32, 32, 256", "d: 192 x 3"):
        assert windows.starting(arms[name], 32, str(tmp_path)).config.windows == list(arms[name].windows)
    with pytest.raises(SystemExit, match="another kind of decoder"):
        windows.starting(arms["c: 32, 32, Mamba 2"], 32, str(tmp_path))


@pytest.mark.slow
def test_runs_are_kept_and_not_repeated(work):
    def run(*arms):
        options = ["--width", "32", "--minutes", "1e-9", "--episodes", "1", "--seeds", "0", "--steps", "5200"]
        command = [sys.executable, str(FOLDER / "windows.py"), "--work", str(work), *options, "--arms", *arms]
        result = fork_server.run([*command, "--environments", "CartPole-v1", "--json", str(work / "t.json")])
        assert result.returncode == 0, result.stderr[-2000:]
        return json.loads((work / "t.json").read_text())

    first, second = run(FIRST), run(FIRST, SECOND)
    assert [row["arm"] for row in second["rows"]] == [FIRST, SECOND]
    assert first["runs"][f"{FIRST}|0"] == second["runs"][f"{FIRST}|0"]
    assert all(math.isfinite(row["CartPole-v1"]) and row["memory"] is None for row in second["rows"])


@pytest.mark.slow
def test_arms_are_timed_in_turns(tmp_path):
    options = ["--speed", "--seconds", "0.01", "--width", "32", "--json", str(tmp_path / "t.json")]
    result = fork_server.run([sys.executable, str(FOLDER / "windows.py"), *options, "--arms", FIRST, "d: 192 x 3"])
    assert result.returncode == 0, result.stderr[-2000:]
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == [FIRST, "d: 192 x 3"] and rows[0]["64 lanes, speed"] == 1
    assert all(row[f"{kind}, ms"] > 0 for row in rows for kind in ("training", "1 lane", "64 lanes"))
