"""`ldm doctor` and `ldm --version`."""

import json
from importlib import metadata

import pytest
from typer.testing import CliRunner

import ldm_hf
from ldm_hf.cli import doctor
from ldm_hf.cli.app import app
from ldm_hf.environments.checking import RAISES, WORKS
from ldm_hf.errors import LDMError
from ldm_hf.utils import parallel


def test_the_version_is_that_of_the_package():
    assert CliRunner().invoke(app, ["--version"]).stdout.split() == ["ldm_hf", ldm_hf.__version__]


def test_what_is_missing_is_found_and_what_would_help_most_comes_first(monkeypatch):
    gone = {"minigrid", "peft", "grid2op"}
    version = metadata.version

    def pretended(package):
        if package in gone:
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(metadata, "version", pretended)
    monkeypatch.setattr(doctor, "STEP_SECONDS", 0.01)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["extras"]["lora"] == ["peft"] and "minigrid" in found["extras"]["envs"]
    assert found["step_ms"] > 0 and found["machine"]["cores"] >= 1
    minigrid, gymnasium = found["libraries"]["minigrid"], found["libraries"]["gymnasium"]
    assert minigrid["state"] == doctor.MISSING and minigrid["environments"] > 100
    assert gymnasium["state"] == doctor.HERE and gymnasium["version"] == version("gymnasium")
    lines = doctor.advice(found)
    assert lines[0].startswith('pip install "ldm_hf[envs]"  # ') and 'pip install "ldm_hf[lora]"' in lines
    assert (
        "ldm envs install grid2op  # 2 environments more" in lines
        or found["libraries"]["grid2op"]["state"] == doctor.OWN
    )


def test_the_report_is_for_people(monkeypatch):
    monkeypatch.setattr(doctor, "STEP_SECONDS", 0.01)
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "a step of ldm-nano:" in result.stdout and "Libraries of environments" in result.stdout


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ({"verdict": WORKS}, "works"),
        ({"verdict": RAISES, "reason": "no joints"}, "raises an error: no joints"),
        (LDMError("its process died"), "its process died"),
    ],
)
def test_libraries_are_tried_when_asked(monkeypatch, outcome, told):
    tried = []

    def run(function, tasks, limit):
        tried.extend(tasks)
        yield from ((name, outcome) for name in tasks)

    monkeypatch.setattr(parallel, "run_tasks", run)
    monkeypatch.setattr(doctor, "STEP_SECONDS", 0.01)
    result = CliRunner().invoke(app, ["doctor", "--json", "--try"])
    assert result.exit_code == 0, result.output
    states = json.loads(result.stdout)["libraries"]
    rows = {name for name, state in states.items() if state["state"] != doctor.MISSING and state["environments"]}
    assert rows == set(tried) >= {"gymnasium"}
    assert all(state["tried"] == (told if name in tried else "") for name, state in states.items())


def test_nothing_is_advised_where_nothing_lacks():
    found = {"extras": {"lora": []}, "libraries": {}}
    assert doctor.advice(found) == ["Everything is installed."]
