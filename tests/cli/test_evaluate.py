"""`ldm evaluate`: results, curves, suites."""

import json
import sys

import imageio.v3 as imageio
import pytest

from ldm_hf.cli import app as cli

from .running import ldm


def test_evaluate_writes_results_and_a_curve(collected, model, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    output = tmp_path / "new" / "results.json"
    arguments = ["evaluate", "--model", str(model), "--episodes", "2", "--num-envs", "50", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["ldm", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code in (0, None)
    results = json.loads(output.read_text())
    assert set(results) == {"environments", "summary", "command", "measured", "versions"}
    assert list(results["environments"]) == ["FrozenLake-v1"]
    entry = results["environments"]["FrozenLake-v1"]
    measured = {"random", "reference", "ldm", "ldm_history_only"}
    facts = {"domain", "family", "library", "matched"}
    assert set(entry) == {"normalised", "normalised_history_only", *facts, *measured}
    assert (entry["domain"], entry["family"], entry["library"]) == ("toy_text", "FrozenLake", "gymnasium")
    for label in measured:
        spread = "ci" if label in ("random", "reference") else "std"  # those that are packaged are not measured again
        assert {"mean", spread, "episodes"} <= set(entry[label])
        assert entry[label]["episodes"] == 100  # the row asks for more than 2 since returns vary much
    scale = entry["reference"]["mean"] - entry["random"]["mean"]
    for variant in ("", "_history_only"):
        expected = (entry[f"ldm{variant}"]["mean"] - entry["random"]["mean"]) / scale
        assert entry[f"normalised{variant}"] == pytest.approx(expected)
    keys = [
        f"{key}{variant}"
        for key in ("at_least_50", "at_least_80", "at_least_100", "iqm")
        for variant in ("", "_history_only")
    ]
    assert {"n", "families", "families_at_least_80", "matched", *keys} <= set(results["summary"])
    assert results["summary"]["n"] == 1
    assert results["command"].split() == ["ldm", *arguments]
    assert {"python", "ldm_hf", "torch", "transformers", "gymnasium", "numpy"} <= set(results["versions"])
    assert imageio.imread(output.with_suffix(".png")).ndim == 3


def test_evaluate_reuses_the_scores_of_the_dataset(collected, model, tmp_path):
    output = tmp_path / "results.json"
    arguments = ("--episodes", "2", "--num-envs", "50", "--output", output, "--dataset", collected[1])
    result = ldm("evaluate", "--model", model, *arguments)
    assert result.exit_code == 0
    told = json.loads((collected[1] / "FrozenLake-v1" / "environment.json").read_text())["scores"]
    entry = json.loads(output.read_text())["environments"]["FrozenLake-v1"]
    assert {label: entry[label] for label in ("random", "reference")} == told


def test_evaluate_goes_on_after_a_failure_and_tells_it(model, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    output = tmp_path / "results.json"
    names = ("--ids", "CartPole-v7,CliffWalking-v1-short")
    result = ldm("evaluate", "--model", model, *names, "--episodes", "1", "--output", output)
    assert result.exit_code == 1
    results = json.loads(output.read_text())
    assert list(results["environments"]) == ["CliffWalking-v1-short"]
    assert "no environment 'CartPole-v7'" in results["failures"]["CartPole-v7"]
    assert "failed: no environment 'CartPole-v7'" in result.stdout
    assert output.with_suffix(".png").exists()


def test_a_suite_is_played_by_the_references(tmp_path):
    arguments = (
        "evaluate",
        "--suite",
        "nasim",
        "--ids",
        "nasim-tiny",
        "--episodes",
        "1",
        "--output",
        tmp_path / "n.json",
    )
    result = ldm(*arguments, "--policy", "reference")
    assert result.exit_code == 0 and "NASim's benchmark scenarios: references" in result.stdout
    assert json.loads((tmp_path / "n.json").read_text())["tasks"]["nasim-tiny"]["normalised"] > 0.9
    assert "1 of 9 tasks were tried" in (tmp_path / "n.md").read_text()
    for wrong, why in {
        (): "no model",
        ("--policy", "reference", "--model", "m"): "leave --model out",
        ("--policy", "reference", "--seed", "1"): "do not go with --suite",
        ("--model", "m", "--save"): "--save records scores of references",
    }.items():
        assert why in str(ldm(*arguments, *wrong).exception)
    assert "go with --suite" in str(ldm("evaluate", "--policy", "reference").exception)
