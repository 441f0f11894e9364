"""The benchmarks run and write what they print; at toy sizes, since nobody asks here how fast."""

import argparse
import importlib
import json
import sys
from pathlib import Path

import gymnasium
import pytest

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMProcessor

from .. import fork_server

FOLDER = Path(__file__).parents[2] / "benchmarks"
TOY = ["--hidden", "64", "--layers", "1", "--window", "4"]
RACE = ["--seconds", "0.01"]
COMMANDS = {
    "rollout": [*TOY, *RACE, "--lanes", "1", "3", "--threads", "1", "2", "--heavy-lanes", "2"],
    "training": [*TOY, *RACE, "--rows", "2", "--side", "64"],
    "encoding": [],
    "reading": ["--steps", "3000", "--frames", "300", "--configs", "3", "--repeats", "1"],
    "isolation": ["--lanes", "2", "--steps", "3", "--repeats", "2"],
    "memory": [*TOY, "--steps", "16", "64"],
    "flat": ["--steps", "60", "--compared", "20"],
    "overhead": ["--lanes", "2", "--steps", "5"],
    "backends": ["--ids", "CartPole-v1", "--steps", "300"],
    "collection": ["--ids", "CartPole-v1", "Taxi-v4", "--seconds", "0.01"],
    "images": ["--ids", "BabyAI-GoToRedBallNoDists-pixels", "--steps", "60", "--seconds", "0.01"],
    "threads": [
        *("--ids", "CartPole-v1", "--steps", "300", "--lanes", "1", "--loads", "0", "1", "--rounds", "1"),
        *("--seconds", "0.01", "--settings", "ldm_hf's default"),
    ],
    "loading": ["--counts", "1", "3", "--repeats", "1"],
    "acting": [*RACE, "--ids", "CartPole-v1", "--steps", "20", "--without-compiler"],
    "importing": ["--gigabytes", "0.001"],
    "demo": ["--visitors", "2", "--ids", "CartPole-v1", "--seconds", "0.3", "--start", "spawn"],
    "endless": ["--lengths", "8", "16", "--worlds", "2"],
    "int8": ["--ids", "CartPole-v1", "--episodes", "1"],
    "serving": [
        *("--environment", "CartPole-v1", "--clients", "1", "3", "--rounds", "1", "--seconds", "0.1"),
        *("--minutes", "0.02"),
    ],
}
# talk to the Python processes that they start through further files
REAL = ("isolation", "ray_executor", "serving", "threads")
OURS = {"ring buffer", "DynamicCache", "re-encoding", "Decision Transformer"}


def test_every_benchmark_is_run_here():
    assert {path.stem for path in FOLDER.glob("*.py")} == {
        *COMMANDS,
        "adaptation",
        "cloning",
        "clones",
        "common",
        "encoders",
        "encoder_parts",
        "few_shot",
        "formats",
        "logs",
        "ray_executor",
        "retrieval",
        "scaling",
        "scaling_law",
        "serving_clients",
        "unseen",
        "waypoints",
        "windows",
    }


def run(name: str, arguments: list[str], output: Path) -> dict:
    """What a benchmark writes; what it prints stands under "printed"."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments, "--json", str(output / "table.json")]
    result = fork_server.run(command, timeout=900, nested=name not in REAL)
    assert result.returncode == 0, result.stderr[-2000:]
    table = json.loads((output / "table.json").read_text())
    assert table["rows"] and table["command"].startswith(f"benchmarks/{name}.py") and table["machine"]
    assert table["versions"]["torch"]
    return table | {"printed": result.stdout}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"rollout", "int8", "serving"}))
def test_benchmarks_write_their_table(name, tmp_path):
    run(name, COMMANDS[name], tmp_path)


@pytest.mark.soak
def test_a_cluster_of_two_nodes_is_compared_with_one_process(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason='needs: pip install "ldm_hf[ray]"')
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "240000")  # a busy machine needs a while
    monkeypatch.setenv("RAY_worker_niceness", "0")  # the same
    table = run("ray_executor", ["--tasks", "4", "--bytes", "100", "--long", "16", "--seconds", "0.5"], tmp_path)
    one, two = table["rows"]
    assert one["share of ideal"] == 1 and two["share of ideal"] > 0 and two["ms a task"] > 0


@pytest.mark.slow
def test_rollouts_are_compared_at_every_number_of_threads_and_lanes(tmp_path):
    table = run("rollout", COMMANDS["rollout"], tmp_path)
    seen = {(row["threads"], row["lanes"], row["contender"]) for row in table["rows"]}
    assert seen == {(t, n, c) for t in (1, 2) for n in (1, 3) for c in OURS | {"ring buffer, int8"}}
    assert all(row["ms per step"] > 0 for row in table["rows"])
    assert "JAT: skipped (no --jat PATH)" in table["printed"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rollout", "training"])
def test_half_precision_and_compilation(name, tmp_path):
    lanes = ["--lanes", "2"] if name == "rollout" else ["--rows", "1", "--most-tokens", "1", "--side", "64"]
    table = run(name, [*TOY, *RACE, *lanes, "--dtype", "bf16", "--compile"], tmp_path)
    assert "bf16" in table["title"]
    if name == "rollout":
        assert {row["contender"] for row in table["rows"]} == OURS | {"ring buffer, compiled"}


def published_model(folder: Path) -> list[str]:
    """Saves a model of random weights that knows CartPole, and names it as an option."""
    environment = gymnasium.make("CartPole-v1")
    config = LDMConfig.preset("ldm-nano")
    processor = LDMProcessor.from_config(config)
    processor.add_environment("CartPole-v1", environment.observation_space, environment.action_space)
    LDMForActionPrediction(config).save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return ["--model", str(folder / "model")]


@pytest.mark.slow
def test_scores_with_int8_weights(tmp_path):
    table = run("int8", [*published_model(tmp_path), *COMMANDS["int8"]], tmp_path)
    assert [row["environment"] for row in table["rows"]] == ["CartPole-v1", "mean"]


@pytest.mark.slow
def test_a_served_model_is_compared_with_agents(tmp_path):
    table = run("serving", [*published_model(tmp_path), *COMMANDS["serving"]], tmp_path)
    contenders = ("served", "served, mixed", "one agent a client", "one agent")
    seen = [(row["contender"], row["clients"], row["rate"]) for row in table["rows"]]
    for clients in (1, 3):
        assert {(name, clients, "full") for name in contenders} | {("served", clients, "20 Hz")} <= set(seen)
    assert seen[-1] == ("served, 0.02 minutes", 3, "full") and not any(row["errors"] for row in table["rows"])
    raw = [row["share_of_raw"] for row in table["rows"] if row["contender"] == "one agent"]
    costs = [row["share_of_raw_by_cpu"] for row in table["rows"] if row["contender"] == "one agent"]
    assert raw == costs == [1, 1] and "MiB" in table["notes"][0]


def test_int8_weights_change_the_actions_little(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    common = importlib.import_module("common")
    config = common.sized(64, 2, 8)
    model, inputs = common.model_of(config, "cpu"), common.random_segments(config, 2, 16, labels=False)
    full, small = model(**inputs).means, common.quantised(model)(**inputs).means
    change = (small - full).norm() / full.norm()
    assert 0 < change < 0.05


def test_contenders_take_turns(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    common = importlib.import_module("common")
    calls = []
    times = common.race({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, budget=0.0, rounds=3)
    assert "".join(calls) == "ababab" and set(times) == {"a", "b"}


def test_jat_says_when_there_is_none(tmp_path):
    command = [sys.executable, str(FOLDER / "rollout.py"), *TOY, "--jat", str(tmp_path / "nothing")]
    result = fork_server.run(command, timeout=900)
    assert result.returncode != 0 and f"{tmp_path / 'nothing'} is no checkout of JAT" in result.stderr


def test_layouts_of_more_tokens_see_as_many_steps(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    training = importlib.import_module("training")
    for sizes in ({"preset": "ldm-small"}, {"preset": None, "hidden": 64, "layers": 1, "window": 64}):
        configs = [training.config_of(argparse.Namespace(**sizes), tokens) for tokens in (1, 3)]
        assert [config.window for config in configs] == [64, 192]
        assert [config.backbone_config.sliding_window for config in configs] == [64, 192]
