"""benchmarks/clones.py: which references can be imitated."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from ldm_hf.collection import Plan
from ldm_hf.trajectories import open_dataset

from .. import fork_server

pytest.importorskip("sklearn", reason='needs: pip install "ldm_hf[logs]"')
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "clones.py"


@pytest.mark.slow
def test_a_reference_that_follows_from_what_is_seen_is_cloned_and_not_cloned_again(tmp_path):
    command = [sys.executable, str(SCRIPT), "--work", tmp_path / "work", "--json", tmp_path / "clones.json"]
    command += ["--environments", "Taxis-v0", "CliffWalking-v1-short", "Pendulum-v1"]
    command += ["--steps", "4000", "--episodes", "5"]
    first = fork_server.run([*map(str, command)], timeout=900)
    assert first.returncode == 0, first.stderr[-2000:]
    assert "Taxis-v0: no environment" in first.stdout  # and the others go on
    table = json.loads((tmp_path / "clones.json").read_text())
    rows = {row["environment"]: row for row in table["rows"]}
    assert rows.keys() == {"CliffWalking-v1-short", "Pendulum-v1"}
    assert rows["CliffWalking-v1-short"]["agreement"] > 0.9
    assert rows["Pendulum-v1"]["score"] > 0.5 and rows["Pendulum-v1"]["method"] and rows["Pendulum-v1"]["steps"] > 3999
    assert "| Pendulum-v1 |" in (tmp_path / "clones.md").read_text()
    again = fork_server.run([*map(str, command)], timeout=900)
    assert again.returncode == 0 and json.loads((tmp_path / "clones.json").read_text())["rows"] == table["rows"]


def test_where_steps_take_long_there_are_fewer(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    clones = importlib.import_module("clones")
    clones.gather("BaseStock-v0", Plan(str(tmp_path), "nowhere", steps=4000), seconds=0.0)
    assert clones.PILOT <= open_dataset(tmp_path, ["BaseStock-v0"])["BaseStock-v0"].num_steps < 2 * clones.PILOT
