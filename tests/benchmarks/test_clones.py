"""benchmarks/clones.py: which references can be imitated."""

import json
import sys
from pathlib import Path

import pytest

from .. import fork_server

pytest.importorskip("sklearn", reason='needs: pip install "ldm_hf[logs]"')
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "clones.py"


def test_a_reference_that_follows_from_what_is_seen_is_cloned_and_not_cloned_again(tmp_path):
    command = [sys.executable, str(SCRIPT), "--work", tmp_path / "work", "--json", tmp_path / "clones.json"]
    command += ["--environments", "FrozenLake-v1", "Pendulum-v1", "--steps", "4000", "--episodes", "10"]
    first = fork_server.run([*map(str, command)], timeout=900)
    assert first.returncode == 0, first.stderr[-2000:]
    table = json.loads((tmp_path / "clones.json").read_text())
    rows = {row["environment"]: row for row in table["rows"]}
    assert rows.keys() == {"FrozenLake-v1", "Pendulum-v1"} and rows["FrozenLake-v1"]["agreement"] > 0.95
    assert (
        rows["Pendulum-v1"]["score"] > 0.5 and rows["Pendulum-v1"]["method"] and rows["Pendulum-v1"]["steps"] >= 4000
    )
    again = fork_server.run([*map(str, command)], timeout=900)
    assert again.returncode == 0 and json.loads((tmp_path / "clones.json").read_text()) == table
