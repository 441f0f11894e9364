"""The scripts that a newcomer runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
OURS = "|".join(  # whatever else the quickstart prints is a library's
    (
        r"─+ [0-3]\. .* ─+",  # a stage
        r"(play|collect|pretrain|evaluate): +\d+%\|.*",
        r"[\w-]+ +-?\d+ % of the reference",  # a score as it comes
        r".*[│┃┏┡├└].*|(Mean return per|Environments at or) .*",  # a table
        r"(video in|One model of one set|model|Watch it:) .*",
    )
)


def run(folder, name, *arguments):
    environment = os.environ | {"LDM_HF_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_script_tells_its_options(name, tmp_path):
    result = run(tmp_path, name, "--help")
    assert result.returncode == 0 and "--" in result.stdout


@pytest.mark.slow
def test_the_quickstart_goes_the_whole_road_and_again(tmp_path, monkeypatch):
    small = [
        "--environments",
        "CartPole-v1",
        "FrozenLake-v1",
        "--steps-per-env",
        600,
        "--updates",
        6,
        "--episodes",
        2,
    ]
    monkeypatch.setenv("COLUMNS", "400")  # no line is broken
    for _ in range(2):  # again in a used folder
        result = run(tmp_path, "quickstart.py", "--output", "out", *small)
        assert result.returncode == 0, result.stderr[-3000:]
        lines = [line.strip() for line in re.split(r"[\r\n]+", result.stdout + result.stderr) if line.strip()]
        assert not [line for line in lines if not re.fullmatch(OURS, line)]
        told = {line.split()[0] for line in lines if line.endswith("% of the reference")}
        assert told == {"CartPole-v1", "FrozenLake-v1"}
        assert "of 2 environments" in " ".join(result.stdout.split())
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["environments"]) == {"CartPole-v1", "FrozenLake-v1"} and results["summary"]["n"] == 2
    assert {"curve.png", "results.md", "model", "trajectories"} <= {path.name for path in (tmp_path / "out").iterdir()}
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "out" / "model" / "training_log.jsonl").read_text().splitlines()
    ]
    assert steps == [6]  # of the second run only


@pytest.mark.slow
def test_the_quickstart_names_what_is_wrong_in_one_line(tmp_path):
    result = run(tmp_path, "quickstart.py", "--environments", "CartPool-v1")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("error: no environment 'CartPool-v1'")
    assert "Traceback" not in result.stderr
