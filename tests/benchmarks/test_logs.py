"""benchmarks/logs.py at toy size."""

import json
import sys
from pathlib import Path

import pytest

from .. import fork_server

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "logs.py"


@pytest.mark.soak
def test_estimates_stand_beside_the_truth(tmp_path):
    command = [sys.executable, str(SCRIPT), "--work", str(tmp_path / "work"), "--json", str(tmp_path / "logs.json")]
    command += ["--simulators", "BaseStock-v0", "--logged", "20", "--episodes", "4", "--updates", "4", "--window", "4"]
    result = fork_server.run(command, timeout=900, nested=False)
    assert result.returncode == 0, result.stderr[-2000:]
    rows = json.loads((tmp_path / "logs.json").read_text())["rows"]
    assert [row["cloning"] for row in rows] == ["plain", "filtered", "weighted"]
    assert all(row["error of fitted Q"] == pytest.approx(row["fitted Q"] - row["truth"]) for row in rows)
    text = (tmp_path / "logs.md").read_text()
    assert "## Cloning a log of mixed quality" in text and text.count("| BaseStock-v0 |") == 7
    assert (tmp_path / "logs.png").exists()
