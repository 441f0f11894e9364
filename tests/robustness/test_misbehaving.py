"""Whatever an environment does is its failure alone, and named: it stops no other and nothing of it is stored."""

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ldm_hf import LDMProcessor
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import make
from ldm_hf.errors import EnvironmentFailure, LDMError
from ldm_hf.evaluation import EvaluationOptions, Target, evaluate
from ldm_hf.evaluation.playing import play, play_grid
from ldm_hf.references.finding import find_references
from ldm_hf.references.records import Record
from ldm_hf.rollouts import HELD_OUT_SEED, RandomPolicy, rollout
from ldm_hf.trajectories import EnvironmentInfo, validate
from ldm_hf.trajectories.writer import shards
from ldm_hf.utils import parallel
from ldm_hf.utils.parallel import run_tasks

from .misbehaving import DYING, HARMLESS, LENGTH, LOOKED_AT, RAISING, Rule, row

BAD_SEED = 4
GOOD = row("Good")


def plan_of(folder, **changes):
    return replace(Plan(str(folder / "data"), str(folder / "references"), steps=120), **changes)


def seeds(plan, name):
    return [seed for path in shards(Path(plan.folder) / name) for seed in pq.read_table(path)["seed"].to_pylist()]


def rows(plan, name):
    return [line for path in shards(Path(plan.folder) / name) for line in pq.read_table(path).to_pylist()]


@pytest.fixture(autouse=True)
def state():
    """What belongs to the process is afterwards what it was."""

    def found():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
        return np.geterr(), handlers

    before = found()
    yield
    assert found() == before


# --- collect ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", RAISING)
def test_collect_names_it_and_keeps_the_episodes_before(how, tmp_path):
    plan, bad = plan_of(tmp_path), row("Bad", how, seed=BAD_SEED)
    failures = collect([bad, GOOD], plan, progress=False)
    assert list(failures) == ["Bad"] and isinstance(failures["Bad"], EnvironmentFailure)
    assert failures["Bad"].name == "Bad" and failures["Bad"].seed == BAD_SEED
    told = str(failures["Bad"])
    assert re.search(RAISING[how], told) and f"(episode of seed {BAD_SEED})" in told
    if how in LOOKED_AT or how == "missing":
        assert "observation of step 3" in told
    assert (
        seeds(plan, "Bad") == list(range(BAD_SEED)) and sum(len(line["reward"]) for line in rows(plan, "Good")) >= 120
    )
    assert not [finding for finding in validate(plan.folder, progress=False) if finding.level == "error"]


@pytest.mark.parametrize("how", HARMLESS)
def test_what_does_no_harm_changes_nothing(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = Plan("data", "references", steps=120)
    assert collect([row("Bad", how, seed=BAD_SEED), GOOD], plan, progress=False) == {}
    assert os.getcwd() == str(tmp_path)
    plan = replace(plan, folder=str(tmp_path / "data"))
    assert rows(plan, "Bad") == rows(plan, "Good")


@pytest.mark.slow
def test_what_ends_or_stops_a_process_is_named_and_loses_no_finished_episode(tmp_path):
    plan = plan_of(tmp_path)
    bad = [row(f"Bad{number}", how, seed=BAD_SEED) for number, how in enumerate(DYING)]

    def executor(*arguments, **options):
        return run_tasks(*arguments, **options | {"silence": 3.0})

    failures = collect([*bad, GOOD], plan, jobs=2, progress=False, executor=executor)
    assert sorted(failures) == sorted(spec.name for spec in bad)
    for spec, reason in zip(bad, DYING.values(), strict=True):
        told = str(failures[spec.name])
        assert f"environment {spec.name} failed in its process (episode of seed {BAD_SEED})" in told and reason in told
        assert seeds(plan, spec.name) == list(range(BAD_SEED))
    assert len(seeds(plan, "Good")) * LENGTH >= 120


# --- it goes on ------------------------------------------------------------------------------------------------------


def test_an_episode_that_fails_twice_is_left_out(tmp_path):
    plan, bad = plan_of(tmp_path), row("Bad", "raises", seed=BAD_SEED)
    for _ in range(2):
        assert list(collect([bad], plan, progress=False)) == ["Bad"]
        assert seeds(plan, "Bad") == list(range(BAD_SEED))
    assert collect([bad], plan, progress=False) == {}
    assert seeds(plan, "Bad") == [seed for seed in range(15) if seed != BAD_SEED]
    assert EnvironmentInfo.load(Path(plan.folder) / "Bad").collection["left_out"] == [BAD_SEED]
    collect([GOOD], plan, progress=False)
    assert [line for line in rows(plan, "Good") if line["seed"] != BAD_SEED] == rows(plan, "Bad")[:-1]


@pytest.mark.slow
def test_what_always_dies_after_a_while_is_collected_bit_by_bit(tmp_path):
    plan, bad = plan_of(tmp_path, steps=600), row("Bad", "segfaults", after=250)  # more than a score takes
    bad = replace(bad, episodes=1)
    counts = []
    for _ in range(4):  # each process lives for some 27 episodes
        failures = collect([bad], plan, jobs=2, progress=False)
        counts.append(len(seeds(plan, "Bad")))
        if not failures:
            break
    assert counts[-1] == 67 and seeds(plan, "Bad") == list(range(67)) and len(counts) == 3, counts


# --- reference, evaluate, play, roll-outs ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    folder, env = tmp_path_factory.mktemp("model"), make(GOOD)
    processor = LDMProcessor.from_config(tiny[0].config)
    processor.add_environment("Good", env.observation_space, env.action_space, task="Do it.")
    tiny[0].save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def find(name, references_folder):
    spec = row(name, "" if name == "Good" else name, seed=HELD_OUT_SEED + 1)
    return Target(name, "control", "Do it.", lambda: make(spec), Rule)


def test_reference_and_evaluate_name_it(saved, tmp_path):
    names = {f"Bad{number}": how for number, how in enumerate(RAISING)}
    failures = find_references([*(row(name, how) for name, how in names.items()), GOOD], tmp_path, budget=5)
    assert list(failures) == list(names)
    assert all(f"environment {name} failed in" in str(failures[name]) for name in names)
    assert Record.load(tmp_path / "Good").beats_random
    options = EvaluationOptions(episodes=2, num_envs=2)
    results = evaluate(saved, [*RAISING, "Good"], options, output=tmp_path / "r.json", find=find, progress=False)
    assert list(results["environments"]) == ["Good"] and list(results["failures"]) == list(RAISING)
    assert all(f"environment {how} failed in" in results["failures"][how] for how in RAISING)


def test_reference_and_evaluate_are_not_disturbed(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = EvaluationOptions(episodes=2, num_envs=2)
    results = evaluate(saved, [*HARMLESS, "Good"], options, output="r.json", find=find, progress=False)
    assert "failures" not in results and (tmp_path / "r.json").exists() and os.getcwd() == str(tmp_path)
    found = {name: {**result, "family": ""} for name, result in results["environments"].items()}  # the name decides it
    assert all(result == found["Good"] for result in found.values())
    bad = [row(f"Bad{number}", how, seed=HELD_OUT_SEED + 1) for number, how in enumerate(HARMLESS)]
    assert find_references(bad, "refs", budget=5) == {}
    assert len(list((tmp_path / "refs").iterdir())) == len(HARMLESS)


@pytest.mark.parametrize("how", RAISING)
def test_play_names_it(how, saved, tmp_path, monkeypatch):
    names = {"Bad": row("Bad", how), "Good": GOOD}
    monkeypatch.setattr("ldm_hf.evaluation.playing.get_spec", names.__getitem__)
    with pytest.raises(LDMError, match="environment Bad failed in"):
        play(str(saved), "Bad", tmp_path / "a.gif")
    if how in ("exits", "nan"):
        failures = play_grid(str(saved), ["Bad", "Good"], tmp_path / "grid.gif", seconds=1, side=16, fps=5)
        assert list(failures) == ["Bad"] and (tmp_path / "grid.gif").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "reference", "play"])
def test_what_dies_with_one_job_is_named_too(command, saved, tmp_path, monkeypatch):
    """As the command `ldm` works, which runs no environment in its own process."""
    monkeypatch.setattr(parallel, "_always", [True])
    if command == "evaluate":
        results = evaluate(saved, ["segfaults", "Good"], EvaluationOptions(episodes=2), find=find, progress=False)
        assert list(results["environments"]) == ["Good"]
        told = results["failures"]["segfaults"]
        assert "environment segfaults failed in its process (measuring random): it was ended by SIGSEGV" in told
    elif command == "reference":
        failures = find_references([row("Bad", "leaves"), GOOD], tmp_path, budget=5)
        assert list(failures) == ["Bad"] and "exit code 0" in str(failures["Bad"])
        assert Record.load(tmp_path / "Good").beats_random
    else:
        ((_, outcome),) = run_tasks(dies_while_it_is_played, {"Bad": (str(saved), str(tmp_path / "a.gif"))})
        assert "environment Bad failed in its process: it was ended by SIGABRT" in str(outcome)


def dies_while_it_is_played(model, video):
    from unittest.mock import patch

    with patch("ldm_hf.evaluation.playing.get_spec", lambda name: row(name, "aborts")):
        play(model, "Bad", video)


def test_a_policy_that_ends_its_process_is_not_tried_again(tmp_path):
    failure = EnvironmentFailure("Good", "its process", "it was ended by SIGSEGV", None, "constant")
    failed = find_references([GOOD], tmp_path, executor=lambda *args, **kwargs: iter([("Good", failure)]))
    assert failed == {"Good": failure}
    (attempt,) = Record.load(tmp_path / "Good").attempts
    assert attempt.reference == "constant" and "SIGSEGV" in attempt.error


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("seed", [0, 30, 59])
def test_a_roll_out_names_the_episode_and_the_step(lanes, seed):
    """Observations are compared many at a time; the message names the one that is wrong all the same."""
    with pytest.raises(
        EnvironmentFailure, match=rf"episode of seed {seed}\): the observation after 5 steps: leaf 'x'"
    ):
        rollout(lambda: make(row("Bad", "nan", seed=seed, step=5)), RandomPolicy(), 60, num_envs=lanes, name="Bad")
