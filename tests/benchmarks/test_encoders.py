"""The comparison of encoders: every variant trains, and the table says what was measured."""

import importlib
import json
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec
from ldm_hf.trajectories import open_dataset

from .. import fork_server

FOLDER = Path(__file__).parents[2] / "benchmarks"
ENVIRONMENTS = ["CartPole-v1", "MountainCarContinuous-v0"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trajectories")
    assert not collect([get_spec(name) for name in ENVIRONMENTS], Plan(str(folder), steps=6000), progress=False)
    return folder


@pytest.mark.slow
def test_every_variant_trains_and_differs_from_the_base(dataset, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    encoders = importlib.import_module("encoders")
    streams = open_dataset(dataset, ENVIRONMENTS)
    outputs = {}
    for name, variant in encoders.VARIANTS.items():
        with ExitStack() as stack:
            for make in variant.patches:
                stack.enter_context(make())
            model, processor = encoders.train(variant, streams, seed=0, updates=2)
            distances = encoders.disagreement(
                model, processor, streams, known=not variant.test_unknown or name == "base"
            )
        assert set(distances) == set(ENVIRONMENTS)
        outputs[name] = tuple(distances.values())
    assert all(values != outputs["base"] for name, values in outputs.items() if name != "base")
    again = encoders.train(encoders.VARIANTS["base"], streams, seed=0, updates=2)
    assert tuple(encoders.disagreement(*again, streams, known=True).values()) == outputs["base"]


@pytest.mark.slow
def test_runs_are_kept_and_not_repeated(dataset, tmp_path):
    def run(*variants):
        options = ["--environments", "CartPole-v1", "--updates", "1", "--seeds", "0", "--variants", *variants]
        command = [sys.executable, str(FOLDER / "encoders.py"), "--dataset", str(dataset), *options]
        result = fork_server.run([*command, "--json", str(tmp_path / "t.json")])
        assert result.returncode == 0, result.stderr[-2000:]
        return json.loads((tmp_path / "t.json").read_text())

    first, second = run("base"), run("base", "T 64")
    assert [row["variant"] for row in second["rows"]] == ["base", "T 64"]
    assert first["runs"]["base|0"] == second["runs"]["base|0"]
    assert set(second["runs"]["base|0"]["scores, unknown"]) == {"CartPole-v1"}
