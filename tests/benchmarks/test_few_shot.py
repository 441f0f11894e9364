"""benchmarks/few_shot.py at toy size."""

import importlib
import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ldm_hf.rollouts.lane import Lane
from ldm_hf.spaces import space_to_json
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, open_dataset

from .. import fork_server
from ..conftest import random_steps
from ..runs import write_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "few_shot.py"
OBSERVATION = spaces.Dict(
    {
        "x": spaces.Box(-1, 1, (3,)),
        "tile": spaces.Discrete(5),
        "says": spaces.Text(4, charset="ab"),
        "map": spaces.Box(0, 9, (12, 12, 1), np.uint8),
    }
)
ACTION = spaces.Dict({"choice": spaces.Discrete(50), "force": spaces.Box(-1, 1, (2,))})


@pytest.fixture()
def few_shot(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("few_shot")


def test_retrieval_does_what_was_done_there(few_shot, tmp_path):
    steps = random_steps(OBSERVATION, ACTION, 30)
    info = EnvironmentInfo("Toy-v0", "Toy-v0", space_to_json(OBSERVATION), space_to_json(ACTION))
    with TrajectoryWriter(tmp_path, info) as out:
        out.write(steps)
    policy = few_shot.Retrieval([open_dataset(tmp_path)["Toy-v0"]])
    rows = [3, 17, 29]
    observations = [
        {
            path: values[row] + (1e-3 if path == "x" else 0) if path != "says" else str(values[row])
            for path, values in steps["observation"].items()
        }
        for row in rows
    ]
    lanes = [Lane(gymnasium.Env()) for _ in rows]
    for lane, observation in zip(lanes, observations, strict=True):
        lane.observation = observation
    for row, action in zip(rows, policy.act(lanes), strict=True):
        assert ACTION.contains(action)
        assert action["choice"] == steps["label"]["choice"][row]
        assert np.array_equal(action["force"], steps["label"]["force"][row])


@pytest.mark.parametrize("learner", ["BOOSTING", "NETWORK"])
def test_a_clone_learns_what_the_observation_tells(few_shot, tmp_path, learner):
    cloning = importlib.import_module("cloning")
    steps = random_steps(OBSERVATION, ACTION, 200)
    steps["label"]["choice"] = 7 + steps["observation"]["tile"] % 2
    steps["label"]["force"] = np.clip(steps["observation"]["x"][:, :2], -1, 1)
    info = EnvironmentInfo("Toy-v0", "Toy-v0", space_to_json(OBSERVATION), space_to_json(ACTION))
    with TrajectoryWriter(tmp_path, info) as out:
        out.write(steps)
    policy = cloning.Clone([open_dataset(tmp_path)["Toy-v0"]], getattr(cloning, learner))
    lanes = [Lane(gymnasium.Env()) for _ in range(40)]
    for row, lane in enumerate(lanes):
        parts = steps["observation"].items()
        lane.observation = {path: str(values[row]) if path == "says" else values[row] for path, values in parts}
    actions = policy.act(lanes)
    assert all(ACTION.contains(action) for action in actions)
    assert [action["choice"] for action in actions] == list(steps["label"]["choice"][:40])
    errors = np.abs([action["force"] for action in actions] - steps["label"]["force"][:40])
    assert errors.mean() < 0.2


@pytest.mark.slow
def test_every_method_is_measured_once(tmp_path):
    write_model(tmp_path / "start")
    command = [sys.executable, str(SCRIPT), "--model", tmp_path / "start", "--work", tmp_path / "work"]
    command += ["--json", tmp_path / "few.json", "--environments", "FrozenLake-v1", "--demonstrations", "1", "6"]
    command += ["--steps", "1600", "--updates", "2", "--batch-size", "2", "--episodes", "2", "--seeds", "2"]
    for methods, expected in ((["nearest"], "4/4"), (["nearest", "shown", "averaged"], "8/8"), (["shown"], "0run")):
        result = fork_server.run([*command, "--methods", *methods], timeout=600)
        assert result.returncode == 0, result.stderr[-3000:]
        assert expected in result.stderr
    told = json.loads((tmp_path / "few.json").read_text())
    keys = [[row[key] for key in ("environment", "method", "demonstrations", "seed")] for row in told["rows"]]
    assert len(keys) == len({*map(tuple, keys)}) == 12 and all(np.isfinite(row["score"]) for row in told["rows"])
    assert [row["method"] for row in told["medians"]] == ["nearest", "shown", "averaged"]
    assert len(list((tmp_path / "work" / "models").glob("*/FrozenLake-v1-averaged-6-*/training.json"))) == 2
    assert (tmp_path / "few.png").exists()
