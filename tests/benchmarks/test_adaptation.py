"""benchmarks/adaptation.py: its environments are fixed, and a toy model is measured in a few of them."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ldm_hf import LDMConfig
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import catalogue, get_spec
from ldm_hf.environments.specs import known_as, plain_name
from ldm_hf.references import reference_scores
from ldm_hf.training import processor_for
from ldm_hf.trajectories import open_dataset

from .. import fork_server
from ..conftest import TINY
from ..runs import write_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "adaptation.py"
NANO = SCRIPT.parents[1] / "model_cards" / "ldm-nano" / "environments.jsonl"
FEW = """
relatives: [FrozenLake-costly-v1]
families: [Blackjack-v1]
libraries: []
hidden_rules:
- {name: Lake-actions, rows: [FrozenLake-dry-v1], disguise: actions, trained: true}
- {name: Lake-maps, rows: [FrozenLake-costly-v1, FrozenLake-spiral-v1]}
"""


@pytest.fixture()
def adaptation(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("adaptation")


def test_the_groups_are_what_they_say(adaptation):
    """Of the released model's training: relatives have kin there, families and libraries have none."""
    fixed = yaml.safe_load(adaptation.FIXED.read_text())
    known = {entry["name"] for entry in map(json.loads, NANO.read_text().splitlines()) if "name" in entry}
    trained = [row for row in catalogue().values() if known_as(row.name, known) in known]
    families, libraries = {row.family for row in trained}, {row.library for row in trained}
    rows = {group: [get_spec(name) for name in fixed[group]] for group in adaptation.GROUPS[1:]}
    assert all(row.family in families for row in rows["relatives"])
    assert not any(row.family in families for row in rows["families"] + rows["libraries"])
    assert not any(row.library in libraries for row in rows["libraries"])
    assert len(rows["relatives"]) >= 40 and len({row.family for row in rows["families"]}) >= 10
    assert len({row.library for row in rows["libraries"]}) == 2
    rules = fixed["hidden_rules"]
    assert len({rule["name"] for rule in rules}) == len(rules) >= 30
    assert sum(rule.get("trained", False) for rule in rules) >= 8
    assert all(known_as(name, known) in known for rule in rules if rule.get("trained") for name in rule["rows"])
    left_out = adaptation.held_out(fixed)
    assert not known & {*left_out}
    scores = reference_scores()
    names = {*left_out, *(name for rule in rules for name in rule["rows"])}
    drawn = {name for name in names if plain_name(name) != name}  # measured where they are played
    assert drawn and all(known_as(plain_name(name), known) in known for name in drawn)
    assert [name for name in names - drawn if not scores[name]["beats_random"]] == []


def test_every_stream_has_another_rule(adaptation):
    worlds = adaptation.worlds_of({"rows": ["Pendulum-v1"], "disguise": "actions"}, 3)
    assert len({world.seed for world in worlds}) == 3 and all(world.changes() for world in worlds)
    shown = worlds[0].demonstration("none")
    env = worlds[0].make()
    observation, _ = env.reset(seed=shown["seed"])
    for step, action in enumerate(shown["action"][""]):
        np.testing.assert_allclose(observation, shown["observation"][""][step], atol=1e-4)
        observation, reward, *_ = env.step(action)
        assert reward == pytest.approx(shown["reward"][step], abs=1e-3)


def test_what_counts_as_better(adaptation):
    rng = np.random.default_rng(0)
    level = rng.normal(0, 0.1, (3, 20))
    assert not adaptation.improves(level.tolist()) and not adaptation.improves(np.ones((3, 20)).tolist())
    assert adaptation.improves((level + np.linspace(0, 1, 20)).tolist())
    assert not adaptation.improves((level - np.linspace(0, 1, 20)).tolist())


@pytest.mark.slow
def test_every_environment_is_measured_once(tmp_path):
    write_model(tmp_path / "model")
    data = tmp_path / "work" / "trajectories"
    assert collect([get_spec("FrozenLake-dry-v1")], Plan(str(data), steps=300), progress=False) == {}
    processor_for(LDMConfig(**TINY), open_dataset(data)).save_pretrained(tmp_path / "model")
    output = tmp_path / "adaptation.json"
    options = {"model": tmp_path / "model", "work": tmp_path / "work", "environments": tmp_path / "few.yaml"}
    options |= {"episodes": 6, "plain": 2, "after": 1, "streams": 2, "looked-up": 200, "json": output}
    command = [sys.executable, str(SCRIPT)]
    command += [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    before: dict = {}
    for minutes, text, measured in ((0, FEW, 0), (9, FEW.replace("Blackjack-v1", ""), 3), (9, FEW, 4)):
        (tmp_path / "few.yaml").write_text(text)
        result = fork_server.run([*command, "--minutes", str(minutes)], timeout=600)
        assert result.returncode == 0, result.stderr[-3000:]
        told = json.loads(output.read_text()) if output.exists() else {"groups": {}}
        found = {name: group["environments"] for name, group in told["groups"].items() if "summary" in group}
        assert sum(map(len, found.values())) == measured
        assert all(found[group][name] == entry for group, names in before.items() for name, entry in names.items())
        before = found
    assert {*found["hidden_rules"]} == {"Lake-actions", "Lake-maps"} and told["failures"] == {}
    lake, cards = found["hidden_rules"]["Lake-actions"], found["families"]["Blackjack-v1"]
    assert len(lake["by_episode"]) == 6 and np.shape(lake["streams"]) == (2, 6)
    assert len(lake["no_history"]) == len(lake["nearest"]) == 2 and cards["nearest"] == []
    assert np.isfinite(lake["shown_1"]) and lake["library"] == "gymnasium" and lake["family"] == "FrozenLake"
    summary = told["groups"]["hidden_rules"]["summary"]
    assert len(lake["oracle"]) == len(summary["oracle"]) == 6 and found["hidden_rules"]["Lake-maps"]["oracle"] == []
    assert summary["n"] == 2 and {"median_episode_1", "median_episode_20", "improved", "at_least_80"} < summary.keys()
    assert output.with_suffix(".png").stat().st_size > 1000 and "adaptation.py" in told["command"]
