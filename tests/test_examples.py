"""The scripts that a newcomer runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import fork_server

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
OURS = "|".join(  # whatever else the quickstart prints is a library's
    (
        r"─+ [0-3]\. .* ─+",  # a stage
        r"(play|collect|pretrain|evaluate|CartPole-v1|FrozenLake-v1): +\d+%\|.*",  # or the episodes of one
        r"[\w-]+ +-?\d+ % of the reference",  # a score as it comes
        r".*[│┃┏┡├└].*|(Mean return per|Environments at or) .*",  # a table
        r"(video in|One model of one set|model|Watch it:) .*",
    )
)


def run(folder, name, *arguments, **kwargs):
    environment = os.environ | {"LDM_HF_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(EXAMPLES)])
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return fork_server.run(command, cwd=folder, env=environment, timeout=600, **kwargs)


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
        "--jobs",
        1,
    ]
    monkeypatch.setenv("COLUMNS", "400")  # no line is broken
    # What the process that trains prints depends on a variable that imports read: it imports them itself at first, and
    # is forked when the quickstart runs again in a used folder, where it shows that it writes weights.
    for nested, ours in ((False, OURS), (True, rf"{OURS}|Writing model shards: .*")):
        result = run(tmp_path, "quickstart.py", "--output", "out", *small, nested=nested)
        assert result.returncode == 0, result.stderr[-3000:]
        lines = [line.strip() for line in re.split(r"[\r\n]+|\x1b\[A", result.stdout + result.stderr) if line.strip()]
        assert not [line for line in lines if not re.fullmatch(ours, line)]
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


@pytest.mark.slow
def test_an_environment_of_ones_own_is_collected_trained_on_by_hand_and_played(tmp_path):
    result = run(tmp_path, "custom_environment.py", "--output", "data", "--steps", 200)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "4 episodes in data" in result.stdout and "Overriding" not in result.stderr
    small = ["--updates", 11, "--segment", 64, "--batch-size", 2]
    result = run(tmp_path, "train_by_hand.py", "--dataset", "data", "--output", "model", *small)
    assert result.returncode == 0, result.stderr[-3000:]
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["update 10", "update 11"]
    result = run(tmp_path, "act.py", "--model", "model", "--env", "custom_environment:Thermostat-v0", "--steps", 100)
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(re.findall(r"^return -\d", result.stdout, re.M)) == 2


@pytest.mark.slow
def test_the_published_model_acts(tmp_path):
    for name in ("CartPole-v1", "nasim-tiny"):  # the second one is known by its name in the catalogue only
        result = run(tmp_path, "act.py", "--model", ROOT / "model_cards/ldm-nano", "--env", name, "--steps", 510)
        assert result.returncode == 0, result.stderr[-3000:]
        assert float(re.search(r"return (\S+)", result.stdout)[1]) > 190


# --- the recipe of the published model --------------------------------------------------------------------------------

STUB = """#!/bin/bash
{ printf '%s\\t' "${0##*/}" "$@"; echo; } >> "$CALLS"
if [[ ${1-} == improve ]]; then printf 'a table\\nout/improved/round-2/model\\n'; fi
"""


@pytest.fixture()
def calls_of_the_recipe(tmp_path, monkeypatch):
    """Runs the recipe with commands that only write down how they were called."""
    for name in ("ldm", "accelerate", "python"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(STUB)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("OUT", str(tmp_path / "out"))

    def calls():
        (tmp_path / "calls").unlink(missing_ok=True)
        subprocess.run(["bash", str(EXAMPLES / "release_nano.sh")], check=True, timeout=60)
        return [line.rstrip("\t").split("\t") for line in (tmp_path / "calls").read_text().splitlines()]

    return calls


def trainings(calls):
    return [call[call.index("--output_dir") + 1] for call in calls if call[0] == "accelerate"]


def test_the_recipe_is_bash_and_leaves_out_the_trainings_that_are_finished(calls_of_the_recipe):
    subprocess.run(["bash", "-n", str(EXAMPLES / "release_nano.sh")], check=True)
    calls = calls_of_the_recipe()
    names = [Path(folder).name for folder in trainings(calls)]
    assert names == ["first"]
    assert [call[1] for call in calls if call[0] == "ldm"] == [
        *("envs", "collect", "improve", "export", "evaluate", "evaluate", "play", "card")
    ]
    export = next(call for call in calls if call[1] == "export")
    assert export[export.index("--model") + 1] == "out/improved/round-2/model"
    finished = Path(trainings(calls)[0])
    finished.mkdir(parents=True)
    (finished / "training.json").touch()
    assert trainings(calls_of_the_recipe()) == []


@pytest.mark.slow
def test_every_option_of_the_recipe_exists(calls_of_the_recipe):
    known = {}
    for call in calls_of_the_recipe():
        words = [word for word in call if not word.startswith("-")]
        if call[0] == "ldm":
            groups = 3 if call[1] in ("envs", "dataset") else 2
            command = [sys.executable, "-c", "from ldm_hf.cli import main; main()", *call[1:groups], "--help"]
        else:  # a script of ours, started by accelerate or python
            script = next(word for word in words if word.endswith(".py"))
            command = [sys.executable, str(ROOT / script), "--help"]
            call = call[call.index(script) :]
        command = tuple(command)
        if command not in known:
            wide = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(ROOT)}
            result = fork_server.run(command, env=wide)
            assert result.returncode == 0, result.stderr
            known[command] = set(re.findall(r"--[a-zA-Z][\w-]*", result.stdout))
        used = {word for word in call if word.startswith("--")}
        assert used <= known[command], f"{' '.join(call[:3])}: {used - known[command]}"
