"""Suites: their tables, what counts, and how models and references are played."""

import json

import gymnasium
import pytest

from ldm_hf.environments import catalogue, get_spec
from ldm_hf.environments.library_folders import libraries, public_scores
from ldm_hf.environments.specs import families
from ldm_hf.errors import LDMError
from ldm_hf.references import reference_list
from ldm_hf.references.scores import of_public
from ldm_hf.suites import evaluate_suite, load_suite, markdown_report, print_report, suite_names, tables
from ldm_hf.suites.scores import counts, summarise

SUITE = """
title: Two poles and a hand
source: nowhere
about: Made up.
episodes: 3
others: {rival: a rival}
groups:
- domain: poles
  changes: {max_episode_steps: 10}
  horizon: 10
  tasks:
    CartPole-v1: {random: 5, expert: 15, others: {rival: 10}}
    CartPole-gravity20.0-v1: {random: null, expert: 20, changes: {kwargs: {}}}
- domain: hands
  tasks:
    HandReach-v3: {random: -10, expert: -1, others: {rival: -1}}
"""


@pytest.fixture()
def suite(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_text(SUITE)
    return load_suite("mine")


def untried(suite):
    return {
        name: {"score": None, "random": task.random, "expert": task.expert, "normalised": 0.0, "others": task.others}
        for name, task in suite.tasks.items()
    }


def test_jats_model_has_its_published_mean_in_the_table_of_jat():
    suite = load_suite("jat")
    summary = summarise(suite, untried(suite))
    jat = summary["others"]["jat"]
    assert (summary["n"], summary["tried"], summary["mean"]) == (156, 0, 0)
    assert (jat["n"], round(jat["mean"], 3), jat["at_least_80"]) == (156, 0.545, 62)
    means = {domain: round(found["mean"], 3) for domain, found in jat["by_domain"].items()}
    assert means == {"atari": 0.244, "babyai": 0.854, "metaworld": 0.6, "mujoco": 0.735}


@pytest.mark.parametrize("name", suite_names())
def test_the_tasks_of_a_suite_are_rows_with_a_scale(name):
    suite = load_suite(name)
    assert suite.title and suite.source and suite.tasks
    for task in suite.tasks.values():
        assert task.name in catalogue()
        assert task.random is None or task.expert != task.random
        assert set(task.others) <= set(suite.others)
        limit = task.changes.get("max_episode_steps")
        assert "atari" in get_spec(task.name).wrappers or limit in (None, 100_000, task.horizon)


def test_what_is_not_tried_or_has_no_reference_counts_as_nothing(suite, tmp_path):
    output = tmp_path / "results.json"
    results = evaluate_suite("mine", output, ids=["CartPole-v1"], command="mine", progress=False)
    assert results["tasks"]["CartPole-v1"]["score"] == 10  # steps at the suite's own limit
    assert [task["normalised"] for task in results["tasks"].values()] == [0.5, 0, 0]
    assert [task["episodes"] for task in results["tasks"].values()] == [3, 0, 0]
    summary = results["summary"]
    assert (summary["n"], summary["tried"], summary["families"], summary["at_least_50"]) == (3, 1, 1, 1)
    assert summary["mean"] == pytest.approx(1 / 6)
    assert summary["others"]["rival"]["mean"] == pytest.approx(0.75)  # of the two that it has published
    assert results == json.loads(output.read_text())

    later = evaluate_suite("mine", output, progress=False)  # the rest; the hand has no reference
    assert later["tasks"]["CartPole-v1"] == results["tasks"]["CartPole-v1"]
    gravity = later["tasks"]["CartPole-gravity20.0-v1"]
    assert gravity["score"] == 10 and 0 < gravity["random"] <= 10  # measured, as none is published
    assert later["tasks"]["HandReach-v3"]["score"] is None
    assert "1 of 3 tasks" in markdown_report(results) and "2 of 3 tasks" in markdown_report(later)
    print_report(later)


def test_a_task_that_fails_counts_as_nothing_and_says_why(suite, tmp_path):
    (tmp_path / "mine.yaml").write_text(SUITE.replace("changes: {kwargs: {}}", "changes: {kwargs: {nonsense: 1}}"))
    results = evaluate_suite("mine", tmp_path / "r.json", ids=["CartPole-gravity20.0-v1"], progress=False)
    task = results["tasks"]["CartPole-gravity20.0-v1"]
    assert (task["score"], task["normalised"], task["episodes"]) == (None, 0, 0)
    assert "nonsense" in task["error"] and f"Failed: CartPole-gravity20.0-v1: {task['error']}" in markdown_report(
        results
    )


def test_a_finished_task_is_played_again_only_with_more_episodes_or_by_force(suite, tmp_path):
    def played(**options):
        seen = []
        on_result = lambda name, result: seen.append(name)  # noqa: E731
        arguments = {"ids": ["CartPole-v1"], "progress": False, "on_result": on_result} | options
        evaluate_suite("mine", tmp_path / "results.json", **arguments)
        return seen

    assert played() == ["CartPole-v1"]
    assert played() == played(episodes=2) == []
    assert played(episodes=4) == played(force=True, episodes=4) == ["CartPole-v1"]


def test_a_model_plays_under_the_conditions_of_the_suite(suite, tiny, tmp_path):
    for part in tiny:
        part.save_pretrained(tmp_path / "ours")
    results = evaluate_suite("mine", tmp_path / "r.json", tmp_path / "ours", ["CartPole-v1"], progress=False)
    assert results["who"] == "ours" and results["measured"]["model"]
    task = results["tasks"]["CartPole-v1"]
    assert 0 < task["score"] <= 10 and task["normalised"] == (task["score"] - 5) / 10
    with pytest.raises(LDMError, match="does not hold results of references"):
        evaluate_suite("mine", tmp_path / "r.json", progress=False)


def test_unknown_suites_and_tasks_are_refused_by_name(suite, tmp_path):
    with pytest.raises(LDMError, match="no suite 'jet'; there are mine"):
        load_suite("jet")
    with pytest.raises(LDMError, match="no task Pong"):
        evaluate_suite("mine", tmp_path / "r.json", ids=["Pong"])
    (tmp_path / "mine.yaml").write_text("title: x")
    with pytest.raises(LDMError, match="cannot be read"):
        load_suite("mine")


def test_counts_of_nothing_have_no_mean():
    assert counts([])["mean"] is counts([])["mean_capped"] is None
    assert counts([-1.0, 0.5, 0.95])["at_least_95"] == 1


def test_one_task_with_an_expert_close_to_random_actions_does_not_outweigh_all_others_in_the_capped_mean():
    found = counts([50.0, 0.0])
    assert (found["mean"], found["mean_capped"]) == (25, 0.5)


def test_public_scores_say_where_they_come_from_and_are_of_rows():
    found = {name: public for library in libraries() for name, public in public_scores(library).items()}
    assert len(found) > 200
    for name, public in found.items():
        assert catalogue()[name].public == public
        assert "/" in public["source"]
        limit = public["changes"].get("max_episode_steps")
        assert "atari" in get_spec(name).wrappers or limit in (None, public["horizon"], 100_000)


@pytest.mark.parametrize("name", ["CartPole-v1", "HalfCheetah-v5", "Reacher-v5", "LunarLander-v3", "Pendulum-v1"])
def test_a_public_score_without_changes_has_the_time_limit_of_the_row(name):
    public = get_spec(name).public
    assert not public["changes"]
    assert public["horizon"] == gymnasium.spec(name).max_episode_steps


def test_a_reference_is_compared_with_the_world_only_under_its_conditions():
    listed = {entry["name"]: entry for entry in reference_list()}
    cart_pole = listed["CartPole-v1"]
    assert cart_pole["of_public"] == pytest.approx(1) and cart_pole["public"]["score"] == 500
    assert (cart_pole["family"], cart_pole["method"]) == ("CartPole", "heuristic")
    assert listed["Swimmer-v5"]["method"] == "gait" and listed["Swimmer-v5"]["of_public"] > 0.9
    assert listed["HalfCheetah-v5"]["method"] == "rl" and listed["HalfCheetah-v5"]["of_public"] < 0.5
    assert listed["CartPole-length0.1-v1"]["public"] is None
    spec = get_spec("MinAtar-Breakout")  # published without a time limit
    assert spec.of_public(28, 0) is None
    assert spec.of_public(28, 0, {"max_episode_steps": 100_000}) == 1
    assert get_spec("MiniGrid-LockedRoom-v0").of_public(0.5, 0) is None  # the published agent got nothing
    unmeasured = {"reference": None, "random": {"mean": 0.0, "ci": 0.0}}
    assert of_public(get_spec("CartPole-v1"), unmeasured) is None


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (["FetchPush-v4", "FetchPushDense-v4"], "FetchReach-v4"),
        (["CartPole-v1", "CartPole-gravity20.0-v1", "CartPole-penalty-v1"], "Acrobot-v1"),
        (["MiniGrid-DoorKey-5x5-v0", "MiniGrid-DoorKey-16x16-v0"], "MiniGrid-Unlock-v0"),
        (["BabyAI-GoToLocalS5N2-v0", "BabyAI-GoToLocal-v0"], "BabyAI-GoTo-v0"),
        (
            ["InvertedPendulum-v5", "InvertedPendulum-v5-short", "InvertedPendulum-moon-v5"],
            "InvertedDoublePendulum-v5",
        ),
        (["bsuite-cartpole-noise-3", "bsuite-cartpole"], "bsuite-cartpole-swingup-0-1"),
        (["nasim-tiny", "nasim-h5-s3"], "rware-tiny-1ag-v2"),
        (["dm-cartpole-swingup-v0", "dm-cartpole-swingup_sparse-v0"], "dm-cartpole-balance-v0"),
        (["ALE-Breakout-v5"], "MinAtar-Breakout"),
        (["metaworld-door-open-v3"], "metaworld-door-close-v3"),
    ],
)
def test_rows_that_differ_in_numbers_of_one_world_are_a_family(same, other):
    assert families(same) == 1
    assert families([*same, other]) == 2
