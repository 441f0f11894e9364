"""The benchmarks run and write what they print; at toy sizes, since nobody asks here how fast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
TOY = ["--hidden", "64", "--layers", "1", "--window", "4"]
COMMANDS = {
    "rollout": [*TOY, "--lanes", "1", "3", "--repeats", "2"],
    "training": [*TOY, "--segment", "16", "--rows", "2", "--repeats", "1"],
    "encoding": [],
    "isolation": ["--lanes", "2", "--steps", "3", "--repeats", "2"],
    "memory": [*TOY, "--steps", "16", "64"],
}


def test_every_benchmark_is_run_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*COMMANDS, "common"}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_benchmarks_write_their_table(name, tmp_path):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *COMMANDS[name], "--json", str(tmp_path / "table.json")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    table = json.loads((tmp_path / "table.json").read_text())
    assert (
        table["rows"]
        and table["command"].startswith(f"benchmarks/{name}.py")
        and table["machine"]
        and table["versions"]["torch"]
    )
    if name == "rollout":
        assert {row["contender"] for row in table["rows"]} == {
            "ring buffer",
            "DynamicCache",
            "re-encoding",
            "Decision Transformer",
        }
        assert all(row["ms per step"] > 0 for row in table["rows"])
