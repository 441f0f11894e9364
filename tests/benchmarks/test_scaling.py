"""benchmarks/scaling.py: the choice of environments, the law on made-up runs, and a run that is not repeated."""

import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ldm_hf import LDMConfig
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import catalogue, get_spec
from ldm_hf.environments.specs import families

from .. import fork_server

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scaling.py"
GOAL = {"parameters": 3e8, "weights": 3e8, "transitions": 17e9}
# million weights, and million transitions per minute, by size
SIZES = {1.6: (0.36, 0.9), 3.3: (1.4, 0.5), 8: (4.7, 0.2)}


@pytest.fixture()
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("scaling")


def made_up(law, noise=0.0):
    """Nine runs that follow a law, in four environments, of which more are won where the loss is lower."""
    rng, runs = np.random.default_rng(0), {}
    for size, (weights, speed) in SIZES.items():
        for minutes in (30, 60, 120):
            loss = law.loss(weights, speed * minutes) * (1 + noise * rng.normal())
            won = {name: 1.0 if loss < bar else 0.1 for name, bar in zip("abcd", (0.7, 0.52, 0.46, 0.2), strict=True)}
            runs[f"{size:g}M, {minutes:g} minutes"] = {
                "size": size,
                "minutes": minutes,
                "parameters": size * 1e6,
                "weights": weights * 1e6,
                "updates": 1,
                "transitions": 1e6 * speed * minutes,
                "trained_minutes": minutes,
                "losses": dict.fromkeys("abcd", loss),
                "scores": won,
                "failures": {},
            }
    return runs


def test_every_domain_and_family_has_its_turn(scaling):
    domains = {name: row.domain for name, row in catalogue().items()}
    chosen = scaling.choose(domains, 200)
    assert len(set(chosen)) == 200 and chosen == scaling.choose(dict(reversed(domains.items())), 200)
    assert chosen != scaling.choose(domains, 200, seed=1)
    there, taken = Counter(domains.values()), Counter(domains[name] for name in chosen)
    most = max(taken.values())
    assert all(taken[domain] >= min(most - 1, there[domain]) for domain in there)
    for domain in there:
        rows = [name for name in domains if domains[name] == domain]
        own = [name for name in chosen if domains[name] == domain]
        assert families(own) == min(len(own), families(rows))
    smaller = {name: domain for name, domain in domains.items() if name in chosen}
    assert scaling.choose(smaller, 200) == chosen


def test_sizes_are_ldm_nano_in_other_widths(scaling):
    nano = LDMConfig.preset("ldm-nano")
    assert scaling.config_of(scaling.width_of(3.3)).to_dict() == nano.to_dict()
    parameters = [scaling.counts(scaling.config_of(scaling.width_of(size)))[0] / 1e6 for size in (1.6, 3.3, 8)]
    assert parameters == pytest.approx([1.6, 3.3, 8], rel=0.15)


def test_a_law_is_found_again(scaling):
    law = scaling.Law(floor=0.1, size=0.2, data=0.6, exponent=0.35)
    found = scaling.conclusions([*made_up(law).values()], [10, 1e6], GOAL)
    for name in ("floor", "size", "data", "exponent"):
        assert found["law"][name]["value"] == pytest.approx(getattr(law, name), rel=1e-3)
    assert found["error"] < 1e-6 and found["error_longest"] < 1e-6
    assert found["goal"]["loss"]["value"] == pytest.approx(law.loss(300, 17_000))
    assert found["release"]["10"]["size"] < found["release"]["1e+06"]["size"] == 8
    noisy = scaling.conclusions([*made_up(law, noise=0.02).values()], [120], GOAL)
    low, high = noisy["law"]["exponent"]["interval"]
    assert low <= law.exponent <= high and 0 < noisy["error"] < 0.03
    (low, high), share = noisy["goal"]["loss"]["interval"], noisy["goal"]["share"]
    assert low < law.loss(300, 17_000) < high
    assert share["interval"][0] <= share["value"] <= share["interval"][1] and share["value"] > 0.5


def test_a_finished_study_is_drawn_again_without_data(scaling, tmp_path, monkeypatch):
    output = tmp_path / "scaling.json"
    arguments = ["--dataset", str(tmp_path / "none"), "--work", str(tmp_path / "none"), "--json", str(output)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments, "--environments", "4"])
    options = {"environments": 4, "episodes": 10, "seed": 0, "threads": 2, "batch_size": 16, "learning_rate": 2e-3}
    kept = {
        "identity": options | {"max_updates": scaling.UPDATES},
        "environments": {"a": "control", "b": "control", "c": "games", "d": "games"},
        "transitions": 1e7,
        "runs": made_up(scaling.Law(0.1, 0.2, 0.6, 0.35), noise=0.01),
    }
    output.write_text(json.dumps(kept))
    scaling.main()
    told = json.loads(output.read_text())
    assert {name: told[name] for name in kept} == kept and len(told["rows"]) == 9
    assert [row["domain"] for row in told["domains"]] == ["control", "games"]
    assert "extrapolation" in told["notes"][-1] and told["goal"]["preset"] == "ldm-base"
    assert output.with_suffix(".png").stat().st_size > 1000 and not (tmp_path / "none").exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--episodes", "20"])
    with pytest.raises(SystemExit, match="episodes was 10"):
        scaling.main()


@pytest.mark.slow
def test_a_run_is_trained_measured_and_not_repeated(tmp_path):
    data, output = tmp_path / "trajectories", tmp_path / "scaling.json"
    names = ["CartPole-v1", "CliffWalking-v1-short", "FrozenLake-dry-v1"]
    assert collect([get_spec(name) for name in names], Plan(str(data), steps=1500), progress=False) == {}
    options = {"dataset": data, "work": tmp_path / "work", "json": output, "environments": 2, "episodes": 1}
    options |= {"max-updates": 2, "batch-size": 2, "minutes": 1, "sizes": 1.6}
    command = [sys.executable, str(SCRIPT)]
    command += [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    first, second = (run(command, output) for _ in range(2))
    (entry,) = first["runs"].values()
    assert len(first["environments"]) == 2 and {*entry["losses"]} == {*entry["scores"]} == {*first["environments"]}
    assert entry["updates"] == 2 and entry["parameters"] < 2e6 and all(np.isfinite([*entry["losses"].values()]))
    assert second["runs"] == first["runs"] and output.with_suffix(".png").exists()
    (summary,) = (tmp_path / "work").glob("*/*/training.json")
    assert json.loads(summary.read_text())["arguments"]["test_episodes"] == "0.1"


def run(command, output):
    result = fork_server.run(command, timeout=900)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(output.read_text())
