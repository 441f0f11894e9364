"""Roll-outs with fixed seeds, scores, results and reports."""

import json
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from rich.console import Console

from ldm_hf import LDMAgent
from ldm_hf.errors import CheckpointError, DatasetError, EnvironmentFailure, LDMError, NonFiniteError
from ldm_hf.evaluation import (
    EvaluationOptions,
    Target,
    evaluate,
    markdown_report,
    print_report,
    summarise,
    threshold_curve,
)
from ldm_hf.evaluation.scores import described, family_scores, interval
from ldm_hf.rollouts import AgentPolicy, RandomPolicy, ReferencePolicy, normalised_score, rollout
from ldm_hf.rollouts.lane import Lane
from ldm_hf.trajectories.schema import EnvironmentInfo
from ldm_hf.utils.files import save_json


class SeededEnv(gymnasium.Env):
    """Each step pays the seed of the episode; episodes last ``1 + seed % 3`` steps."""

    observation_space = spaces.Dict({"step": spaces.Discrete(10), "values": spaces.Box(-1, 1, (2,), np.float32)})
    action_space = spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)])

    def __init__(self, log: list | None = None) -> None:
        self.log = [] if log is None else log

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.steps = seed, 0
        self.log.append(seed)
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        return self.observe(), float(self.seed), self.steps > self.seed % 3, False, {}

    def observe(self):
        return {"step": self.steps, "values": np.zeros(2, np.float32)}


class Broken(gymnasium.Wrapper):
    """Fails in ``call``, or pays NaN."""

    def __init__(self, env, call: str) -> None:
        super().__init__(env)
        self.call = call

    def reset(self, **kwargs):
        if self.call == "reset":
            raise RuntimeError("no connection")
        return self.env.reset(**kwargs)

    def step(self, action):
        if self.call == "step":
            raise ZeroDivisionError("bad physics")
        observation, _, *rest = self.env.step(action)
        return observation, float("nan"), *rest


class Balance:
    """A good reference for CartPole-v1."""

    def reset(self, env):
        self.ready = True

    def act(self, env, observation, info):
        return int(observation[2] + 0.5 * observation[3] > 0)


def cart_pole() -> gymnasium.Env:
    return gymnasium.make("CartPole-v1", max_episode_steps=60)


def find(name: str, references_folder) -> Target:
    if name == "Broken-v0":
        return Target(name, "control", "", lambda: Broken(cart_pole(), "step"), Balance)
    if name == "Worse-v0":
        return Target(name, "control", "", cart_pole, lambda: SimpleNamespace(reset=lambda *_: None, act=lambda *_: 0))
    return Target(name, "control" if name == "CartPole-v1" else "other", "Balance the pole.", cart_pole, Balance)


@pytest.fixture()
def saved(model, processor, tmp_path) -> Path:
    env = cart_pole()
    processor.add_environment("CartPole-v1", env.observation_space, env.action_space, task="Balance the pole.")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("lanes", [1, 3, 7, 20])
def test_episodes_have_their_seeds_whatever_the_number_of_lanes(lanes):
    log = []
    returns = rollout(lambda: SeededEnv(log), RandomPolicy(), episodes=7, seed=100, num_envs=lanes)
    assert sorted(log) == list(range(100, 107))
    assert returns.tolist() == [seed * (1 + seed % 3) for seed in range(100, 107)]


@pytest.mark.parametrize("policy", [RandomPolicy(), ReferencePolicy(Balance)], ids=["random", "reference"])
def test_returns_do_not_depend_on_the_number_of_lanes(policy):
    results = [rollout(cart_pole, policy, episodes=5, seed=3, num_envs=lanes) for lanes in (1, 2, 5)]
    assert len(set(results[0])) > 1 or isinstance(policy, ReferencePolicy)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_random_actions_do_not_follow_the_random_numbers_of_the_environment():
    env = cart_pole()
    env.reset(seed=5)
    lane = Lane(env)
    lane.seed = 5
    RandomPolicy().begin(0, lane)
    assert [env.action_space.np_random.random() for _ in range(3)] != [env.np_random.random() for _ in range(3)]


def test_random_actions_are_legal_where_a_mask_tells():
    class Masked(SeededEnv):
        action_space = spaces.Discrete(3)

        def reset(self, **kwargs):
            return super().reset(**kwargs)[0], {"action_mask": np.array([0, 0, 1])}

        def step(self, action):
            assert action == 2
            observation, *rest, _ = super().step(action)
            return observation, *rest, {"action_mask": np.array([0, 0, 1], bool)}

    assert len(rollout(Masked, RandomPolicy(), episodes=6, num_envs=2)) == 6


def test_agents_see_the_first_observation_of_the_next_episode_with_the_end_of_the_former():
    calls = []

    class Spy:
        def act(self, observation, reward, terminated, truncated, info):
            calls.append((observation["step"].tolist(), reward.copy(), terminated.copy()))
            return np.zeros(2, np.int64), np.zeros((2, 2), np.float32)

    rollout(SeededEnv, AgentPolicy(lambda spaces, lanes: Spy()), episodes=4, seed=0, num_envs=2)
    # Lane 0 plays seed 0 (one step), then 2 (three steps); lane 1 plays seed 1 (two steps), then 3 (one step).
    assert [call[0] for call in calls] == [[0, 0], [0, 1], [1, 0], [2, 1]]
    assert [call[1].tolist() for call in calls[1:]] == [[0, 1], [2, 1], [2, 3]]
    assert [call[2].tolist() for call in calls[1:]] == [[True, False], [False, True], [False, True]]


def test_a_model_plays_in_nested_spaces(model, processor):
    policy = AgentPolicy(lambda spaces, lanes: LDMAgent(model, processor, spaces, num_envs=lanes))
    returns = rollout(SeededEnv, policy, episodes=5, seed=4, num_envs=3)
    assert returns.tolist() == [seed * (1 + seed % 3) for seed in range(4, 9)]


@pytest.mark.parametrize(("call", "cause"), [("reset", "no connection"), ("step", "bad physics")])
def test_a_failing_environment_is_named(call, cause):
    with pytest.raises(EnvironmentFailure, match=f"Cart.*{call}.*{cause}"):
        rollout(lambda: Broken(cart_pole(), call), RandomPolicy(), episodes=2, name="Cart")


def test_a_nan_reward_is_an_error():
    with pytest.raises(NonFiniteError, match=r"Cart.*nan"):
        rollout(lambda: Broken(cart_pole(), "nan"), RandomPolicy(), episodes=2, name="Cart")


def test_normalised_score():
    assert normalised_score(-150.0, -200.0, -100.0) == 0.5
    assert normalised_score(np.array([0.0, 10.0, 20.0]), 0.0, 10.0).tolist() == [0, 1, 2]
    for reference in (5.0, 4.0, float("nan")):
        with pytest.raises(LDMError, match=r"Cart.*not better than random"):
            normalised_score(7.0, 5.0, reference, "Cart")


def entry(score: float, history_only: float, domain: str = "control") -> dict:
    def measured(mean: float) -> dict:
        return {"mean": mean, "std": 1.0, "episodes": 3, "seed": 0, "returns": [mean - 1, mean, mean + 1]}

    return {
        "domain": domain,
        "random": measured(0.0),
        "reference": measured(10.0),
        "ldm": measured(10 * score),
        "ldm_history_only": measured(10 * history_only),
        "normalised": score,
        "normalised_history_only": history_only,
    }


def test_summary_counts_and_interquartile_mean():
    scores = [(-3.0, 0.0), (0.5, 0.5), (0.8, 0.0), (1.0, 0.9), (1.0, 0.0), (0.79, 0.49), (1.2, 1.0), (40.0, 0.0)]
    summary = summarise({f"env{index}": entry(*pair) for index, pair in enumerate(scores)})
    assert [summary[key] for key in ("n", "at_least_50", "at_least_80", "at_least_100")] == [8, 7, 5, 4]
    assert [summary[f"at_least_{threshold}_history_only"] for threshold in (50, 80, 100)] == [3, 2, 1]
    assert summary["iqm"] == pytest.approx((0.79 + 0.8 + 1.0 + 1.0) / 4)  # outliers on both sides do not count
    low, high = summary["iqm_ci"]
    assert low < summary["iqm"] < high


def test_summary_counts_families_by_their_median_and_what_matches():
    poles, drives = ("CartPole-v1", "CartPole-force5-v1", "CartPole-mass1-v1"), ("Finite-CC", "Cont-CC")
    names = [*poles, *(f"GEM-{kind}-SeriesDc-v0" for kind in drives), "Unheard-v0"]
    scores = dict(zip(names, (1.0, 0.9, -5.0, 0.3, 0.9, 0.81), strict=True))
    entries = {name: entry(score, 0.0) for name, score in scores.items()}
    summary, families = summarise(entries), family_scores(entries)
    assert families == {"CartPole": 0.9, "SeriesDc": pytest.approx(0.6), "Unheard-v0": 0.81}
    assert summary["families"] == 3 and summary["families_at_least_80"] == 2
    # three returns of 10 times the score -1, +0, +1: what is 1.74 below the reference or less is not below it
    assert summary["matched"] == sum(score >= 0.826 for score in scores.values()) == 3
    told = described("CartPole-v1", entry(1.0, 0.0))
    assert (told["library"], told["family"], told["matched"]) == ("gymnasium", "CartPole", True)
    assert described("Unheard-v0", entry(0.2, 0.0))["library"] == ""


def test_summary_without_returns_or_environments():
    bare = entry(0.9, 0.5)
    del bare["ldm"]["returns"]
    assert summarise({"a": bare})["iqm_ci"] is None
    assert summarise({})["n"] == 0 and summarise({})["iqm"] is None


def test_interval_narrows_with_episodes():
    rng = np.random.default_rng(0)

    def width(episodes: int) -> float:
        low, high = interval([rng.normal(0.5, 0.3, episodes) for _ in range(6)])
        return high - low

    assert width(400) < 0.5 * width(20)


def test_evaluate_measures_all_policies_on_the_same_seeds_and_reports_failures(saved, tmp_path):
    output = tmp_path / "results" / "results.json"
    names = ["Broken-v0", "CartPole-v1", "Other-v0", "Worse-v0"]
    told = {}
    options = EvaluationOptions(episodes=4, seed=50, num_envs=3)
    results = evaluate(saved, names, options, output=output, progress=False, find=find, on_result=told.__setitem__)
    assert json.loads(output.read_text()) == results
    assert told == results["environments"]
    assert list(results["environments"]) == ["CartPole-v1", "Other-v0"]
    assert "bad physics" in results["failures"]["Broken-v0"]
    assert "not better than random" in results["failures"]["Worse-v0"]
    measured = results["environments"]["CartPole-v1"]
    assert measured["domain"] == "control"
    for label in ("random", "reference", "ldm", "ldm_history_only"):
        assert {"mean", "std", "episodes"} <= set(measured[label])
        assert (measured[label]["episodes"], measured[label]["seed"]) == (4, 50)
    assert measured["reference"]["mean"] == 60
    assert measured["random"]["returns"] == rollout(cart_pole, RandomPolicy(), 4, 50).tolist()
    expected = normalised_score(measured["ldm"]["mean"], measured["random"]["mean"], 60)
    assert measured["normalised"] == expected
    assert {"n", "at_least_50", "at_least_80", "at_least_100", "iqm", "iqm_history_only"} <= set(results["summary"])
    assert results["summary"]["n"] == 2
    assert results["command"] and "torch" in results["versions"]


def test_an_interrupted_evaluation_goes_on_unless_it_measures_otherwise(saved, tmp_path):
    output, names, asked = tmp_path / "results.json", ["CartPole-v1", "Other-v0"], []

    def spy(name, folder):
        asked.append(name)
        if name == "Other-v0" and len(asked) == 2:
            raise KeyboardInterrupt
        return find(name, folder)

    def measure(force=False, **options):
        asked_before = len(asked)
        options = EvaluationOptions(**{"episodes": 3} | options)
        results = evaluate(saved, names, options, output=output, force=force, progress=False, find=spy)
        return results, asked[asked_before:]

    with pytest.raises(KeyboardInterrupt):
        measure()
    kept = json.loads(output.read_text())
    assert list(kept["environments"]) == ["CartPole-v1"] and kept["summary"]["n"] == 1
    results, measured = measure()
    assert measured == ["Other-v0"] and list(results["environments"]) == names and results["summary"]["iqm_ci"]
    assert json.loads(output.read_text()) == results
    assert measure() == (results, [])
    assert measure(force=True)[1] == names
    assert measure(episodes=2)[1] == names and measure(episodes=2, incognito=True)[1] == names
    other = LDMAgent.from_pretrained(saved, cart_pole()).model
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained(saved)
    assert measure(episodes=2, incognito=True)[1] == names


@pytest.mark.parametrize("text", ["{", "[]", '{"n": 1}'])
def test_an_output_that_is_something_else_is_not_overwritten(saved, tmp_path, text):
    output = tmp_path / "results.json"
    output.write_text(text)
    with pytest.raises(LDMError, match=r"results\.json does not hold results of an evaluation"):
        evaluate(saved, ["CartPole-v1"], output=output, progress=False, find=find)
    assert output.read_text() == text


def test_incognito_the_model_acts_without_what_is_stored(saved, monkeypatch):
    known = []

    class Spy(LDMAgent):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            known.append(self.layout.name)

    monkeypatch.setattr("ldm_hf.agent.LDMAgent", Spy)
    for incognito in (False, True):
        options = EvaluationOptions(episodes=1, incognito=incognito)
        evaluate(saved, options=options, progress=False, find=find)
    assert known == ["CartPole-v1"] * 2 + ["the environment"] * 2


def test_evaluate_takes_the_environments_that_the_model_knows(saved):
    options = EvaluationOptions(episodes=1)
    results = evaluate(saved, options=options, progress=False, find=find, command="ldm evaluate")
    assert list(results["environments"]) == ["CartPole-v1"]
    assert results["command"] == "ldm evaluate"


def test_scores_of_the_dataset_are_used_if_the_seeds_are_the_same(saved, tmp_path):
    folder = tmp_path / "data" / "CartPole-v1"
    folder.mkdir(parents=True)
    recorded = {"mean": 1.0, "std": 0.5, "episodes": 20, "seed": 50}
    scores = {"random": recorded, "reference": recorded | {"seed": 51}}
    EnvironmentInfo("CartPole-v1", "CartPole-v1", {}, {}, scores=scores).save(folder)
    options = EvaluationOptions(episodes=2, seed=50)
    results = evaluate(saved, options=options, dataset=folder.parent, progress=False, find=find)
    assert results["environments"]["CartPole-v1"]["random"] == recorded
    assert results["environments"]["CartPole-v1"]["reference"]["mean"] == 60


def test_bad_arguments(saved, tmp_path):
    with pytest.raises(CheckpointError, match="no usable LDM"):
        evaluate(tmp_path / "nothing", find=find)
    with pytest.raises(DatasetError, match="no folder"):
        evaluate(saved, dataset=tmp_path / "nothing", find=find)
    with pytest.raises(LDMError, match="episodes"):
        rollout(cart_pole, RandomPolicy(), episodes=0)


@pytest.mark.slow
def test_processes_measure_the_same(saved):
    names = ["Broken-v0", "CartPole-v1", "Other-v0"]
    options = EvaluationOptions(episodes=3)
    alone, parallel = (
        evaluate(saved, names, options, jobs=jobs, progress=False, find=find, command="") for jobs in (1, 2)
    )
    assert alone["failures"] == parallel["failures"]
    assert list(parallel["environments"]) == ["CartPole-v1", "Other-v0"]
    for label in ("random", "reference"):
        assert alone["environments"]["Other-v0"][label] == parallel["environments"]["Other-v0"][label]


def test_results_are_never_half_written(tmp_path):
    path = tmp_path / "results.json"
    save_json({"n": 1}, path)
    with pytest.raises(ValueError):
        save_json({"n": float("nan")}, path)
    assert json.loads(path.read_text()) == {"n": 1}


def test_report_shows_environments_domains_and_failures(tmp_path):
    environments = {"CartPole-v1": entry(0.93, 0.41), "Maze-v0": entry(1.0, 0.8, "navigation")}
    results = {"environments": environments, "summary": summarise(environments), "failures": {"X": "X failed"}}
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    print_report(results, console)
    text = console.export_text()
    for expected in ("CartPole-v1", "93 %", "41 %", "navigation", "all", "X failed"):
        assert expected in text
    assert text.index("CartPole-v1") < text.index("Maze-v0")  # by domain
    print_report(results, console, best_first=True)
    text = console.export_text()
    assert text.index("Maze-v0") < text.index("CartPole-v1")
    lines = markdown_report(results | {"command": "ldm evaluate"}).splitlines()
    assert "`ldm evaluate`" in lines and "Failed: X failed" in lines
    assert any(line.startswith("| Maze-v0 | navigation |") and "80 % |" in line for line in lines)
    path = tmp_path / "new" / "curve.png"
    threshold_curve(results, path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
