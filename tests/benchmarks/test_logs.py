"""benchmarks/logs.py and formats.py at toy size."""

import json
import sys
from pathlib import Path

import pytest

from .. import fork_server

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.soak
def test_estimates_stand_beside_the_truth(tmp_path):
    command = [
        sys.executable,
        str(BENCHMARKS / "logs.py"),
        "--work",
        str(tmp_path / "work"),
        "--json",
        str(tmp_path / "logs.json"),
    ]
    command += ["--simulators", "BaseStock-v0", "--logged", "20", "--episodes", "4", "--updates", "4", "--window", "4"]
    result = fork_server.run(command, timeout=900, nested=False)
    assert result.returncode == 0, result.stderr[-2000:]
    rows = json.loads((tmp_path / "logs.json").read_text())["rows"]
    assert [row["cloning"] for row in rows] == ["plain", "filtered", "weighted"]
    assert all(row["error of fitted Q"] == pytest.approx(row["fitted Q"] - row["truth"]) for row in rows)
    text = (tmp_path / "logs.md").read_text()
    assert "## Cloning a log of mixed quality" in text and text.count("| BaseStock-v0 |") == 7
    assert (tmp_path / "logs.png").exists()


@pytest.mark.soak
def test_logs_of_public_formats_are_judged(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "formats.py"), "--work", str(tmp_path / "work")]
    command += ["--json", str(tmp_path / "formats.json"), "--formats", "JAT", "--share", "0.02", "--updates", "3"]
    result = fork_server.run(command, timeout=900, nested=False)
    assert result.returncode == 0, result.stderr[-2000:]
    (row,) = json.loads((tmp_path / "formats.json").read_text())["rows"]
    assert row["format"] == "JAT" and 0 < row["test rows"] < row["train rows"]
    assert 0 <= row["LDM"] <= 1 and 0 <= row["gradient boosting"] <= 1
