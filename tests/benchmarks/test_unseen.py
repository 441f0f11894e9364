"""benchmarks/unseen.py at toy size."""

import importlib
import json
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ldm_hf import LDMConfig
from ldm_hf.agent import make_agent
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec
from ldm_hf.rollouts import AgentPolicy, rollout
from ldm_hf.training import processor_for
from ldm_hf.trajectories import open_dataset

from .. import fork_server
from ..conftest import TINY
from ..runs import write_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "unseen.py"


@pytest.fixture()
def unseen(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("unseen")


class Numbers(gymnasium.Env):
    """Observations that come back; the actions that were chosen for them are kept."""

    observation_space, action_space = spaces.Box(-9, 9, (2,)), spaces.Box(-1, 1, (2,))
    seen = (np.array([1, 2], np.float32), np.array([-3, 0], np.float32))

    def __init__(self):
        self.chosen = []

    def reset(self, *, seed=None, options=None):
        return self.seen[len(self.chosen) % 2], {}

    def step(self, action):
        self.chosen.append(action)
        count = len(self.chosen)
        return self.seen[count % 2], float(count), count % 5 == 0, count == 40, {}


def test_without_history_only_the_observation_counts(unseen, model, processor):
    chosen = {}
    for policy in (AgentPolicy, unseen.WithoutHistory):
        env = Numbers()
        rollout(
            lambda env=env: env,
            policy(lambda pair, n: make_agent(model, processor, None, "", pair, num_envs=n)),
            8,
            0,
            1,
        )
        chosen[policy] = np.array(env.chosen)[30:]  # the statistics have settled by then
    first, second = chosen[unseen.WithoutHistory][0::2], chosen[unseen.WithoutHistory][1::2]
    assert np.ptp(first, axis=0).max() < 0.02 and np.ptp(second, axis=0).max() < 0.02
    assert np.abs(chosen[AgentPolicy] - chosen[unseen.WithoutHistory]).max() > 1e-3


@pytest.mark.slow
def test_every_environment_is_measured_once(tmp_path):
    write_model(tmp_path / "model")
    trained = [get_spec("FrozenLake-v1"), get_spec("FrozenLake-dry-v1")]
    assert collect(trained, Plan(str(tmp_path / "data"), steps=300), progress=False) == {}
    processor_for(LDMConfig(**TINY), open_dataset(tmp_path / "data")).save_pretrained(tmp_path / "model")
    assert collect([get_spec("FrozenLake-grip0.5-v1")], Plan(str(tmp_path / "data"), steps=300), progress=False) == {}
    command = [
        sys.executable,
        str(SCRIPT),
        "--model",
        tmp_path / "model",
        "--dataset",
        tmp_path / "data",
        "--episodes",
        "6",
    ]
    command += ["--looked-up", "100", "--json", tmp_path / "unseen.json", "--jobs", "2"]
    for ids in ("FrozenLake-costly-v1", "FrozenLake-costly-v1,Foraging-5x5-2p-1f-v3"):
        result = fork_server.run([*command, "--ids", ids], timeout=600)
        assert result.returncode == 0, result.stderr[-3000:]
    told = json.loads((tmp_path / "unseen.json").read_text())
    lake, foraging = (told["results"][name] for name in ("FrozenLake-costly-v1", "Foraging-5x5-2p-1f-v3"))
    assert lake["relatives"] == ["FrozenLake-dry-v1", "FrozenLake-v1"] and foraging["relatives"] == []
    assert {label: len(lake[label]) for label in ("LDM", "without history", "retrieval")} == dict.fromkeys(
        ("LDM", "without history", "retrieval"), 6
    )
    assert "retrieval" not in foraging and np.isfinite(foraging["LDM"]).all()
    assert [(row["contender"], row["environments"]) for row in told["rows"]] == [
        ("LDM", 2),
        ("without history", 2),
        ("retrieval", 1),
    ]
    assert (tmp_path / "unseen.png").stat().st_size > 1000
