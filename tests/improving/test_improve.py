"""``ldm improve`` from its command line: rounds, interruptions, errors."""

import contextlib
import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ldm_hf import LDMAgent, LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.cli import app as cli
from ldm_hf.environments import EnvironmentSpec, catalogue, make
from ldm_hf.errors import ArgumentError, CheckpointError, DatasetError, LDMError, UnknownEnvironmentError
from ldm_hf.evaluation.scores import is_matched
from ldm_hf.improving import Improvement, compare, retraining, rounds
from ldm_hf.improving.journal import Journal
from ldm_hf.trajectories.writer import stored
from ldm_hf.utils.files import read_json

from .. import fork_server
from ..conftest import TINY

NAMES = ("CartPole-v1", "CliffWalking-v1-short")
MAIN = "from ldm_hf.cli import main; main()"


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A folder with a small dataset and an untrained model."""
    folder = tmp_path_factory.mktemp("improving")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDM_HF_CACHE", str(folder / "cache"))
        options = ("--steps-per-env", "200", "--jobs", "1", "--output", str(folder / "data"))
        result = CliRunner().invoke(cli.app, ["collect", "--ids", ",".join(NAMES), *options])
    assert result.exit_code == 0, result.output
    torch.manual_seed(0)
    config = LDMConfig(**TINY)
    LDMForActionPrediction(config).save_pretrained(folder / "model")
    LDMProcessor.from_config(config).save_pretrained(folder / "model")
    return folder


@pytest.fixture()
def folder(start, tmp_path, monkeypatch):
    """A copy of it to work in."""
    for name in ("data", "model"):
        shutil.copytree(start / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(*others, **changed):
    small = {"rounds": 1, "steps": 240, "updates": 3, "batch-size": 2, "episodes": 3, "jobs": 1, "output": "out"}
    told = {"model": "model", "dataset": "data"} | small | changed
    given = ((f"--{name}", str(value)) for name, value in told.items() if value is not None)
    return ["improve", *(part for pair in given for part in pair), *others]


def improve(*others, **changed):
    result = CliRunner().invoke(cli.app, arguments(*others, **changed))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def told(folder="out"):
    return json.loads(Path(folder, "improve.json").read_text())


def without_times(journal):
    return [
        {key: value for key, value in one.items() if key not in ("minutes", "speeds")} for one in journal["rounds"]
    ]


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """What an improvement that was not interrupted leaves behind, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(start / "data", folder / "data")
    shutil.copytree(start / "model", folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDM_HF_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        return folder, improve()


def test_a_round_goes_all_the_way(whole):
    folder, printed = whole
    journal = told(folder / "out")
    first, one = journal["rounds"]
    assert first["environments"] == one["environments"] == 2 and first["at_80"][0] == first["at_80"][1]
    assert one["picked"] and set(one["picked"]) <= set(NAMES)
    for name, target in one["targets"].items():
        episodes, steps = stored(folder / "data" / name)
        assert steps >= target and episodes > 1
    info = json.loads((folder / "data" / "CartPole-v1" / "environment.json").read_text())
    assert info["collection"]["students"] == [{"model": "model", "mix": 0.1}]
    assert one["trained"] == 3 and {"evaluate", "collect", "train"} <= set(one["minutes"])
    assert "Round 1:" in printed and "minutes: collect" in printed
    assert (folder / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")
    results = read_json(folder / "out" / "round-1" / "model" / "results.json")
    for name, entry in results["environments"].items():
        assert entry["ldm"]["seed"] == 2_000_000 and entry["family"] and entry["library"] == "gymnasium"
        assert entry["matched"] == is_matched(entry["ldm"], entry["reference"]), name
    best = folder / "out" / "round-1" / "model" if one["kept"] else Path("model")
    assert Path(journal["best"]).name == best.name and printed.splitlines()[-1] == journal["best"]
    env = make("CartPole-v1")
    agent = LDMAgent.from_pretrained(folder / "out" / "round-1" / "model", env, environment="CartPole-v1")
    assert env.action_space.contains(agent.act(env.reset(seed=0)[0]))


def test_a_model_of_a_round_gets_its_card(whole):
    model = whole[0] / "out" / "round-1" / "model"
    result = CliRunner().invoke(cli.app, ["card", str(model)])
    assert result.exit_code == 0, result.output
    assert "it matches the reference" in (model / "README.md").read_text()


def test_a_process_that_dies_at_any_write_is_continued(folder, whole, monkeypatch):
    """Start k dies at its k-th write, in turn just before and just after it; what is done is not done again."""
    save, starts, calls = Journal.save, [], []

    def dying(self):
        starts[-1] += 1
        dies, late = starts[-1] == len(starts), len(starts) % 2 == 0
        if not dies or late:
            save(self)
        if dies:
            raise Killed

    monkeypatch.setattr(Journal, "save", dying)
    for stage in ("measure_start", "_pick", "_collect", "_train"):
        known = getattr(rounds._Stages, stage)
        monkeypatch.setattr(
            rounds._Stages, stage, lambda self, known=known, stage=stage: (calls.append(stage), known(self))
        )
    while not starts or starts[-1] == len(starts):
        starts.append(0)
        with contextlib.suppress(Killed):
            improve()
    assert 5 < len(starts) < 20
    assert without_times(told()) == without_times(told(whole[0] / "out"))
    for name in NAMES:
        assert stored(folder / "data" / name) == stored(whole[0] / "data" / name)
    ours, theirs = (
        LDMForActionPrediction.from_pretrained(place / "out" / "round-1" / "model").state_dict()
        for place in (folder, whole[0])
    )
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert len(calls) < 2 * len(starts), calls
    before = len(calls)
    monkeypatch.setattr(Journal, "save", save)
    improve()  # of what has ended, nothing is done again
    assert len(calls) == before


def test_kill_9_in_the_training_and_on(folder, whole):
    command = [sys.executable, "-c", MAIN, *arguments("--updates", "4000")]
    process = fork_server.Process(command, cwd=folder)
    log = folder / "out" / "round-1" / "model" / "training_log.jsonl"
    deadline = time.monotonic() + 120
    while not log.exists():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    journal = told()
    assert "trained" not in journal["rounds"][1] and journal["rounds"][1]["collected"]
    with pytest.raises(ArgumentError, match=r"out holds another improvement: --updates was 4000, is 3"):
        improve()
    journal["options"]["updates"] = journal["rounds"][1]["updates"] = 3  # which saves the test a minute
    (folder / "out" / "improve.json").write_text(json.dumps(journal))
    shutil.rmtree(folder / "out" / "round-1" / "model")
    improve()
    assert without_times(told()) == without_times(told(whole[0] / "out"))


def test_more_rounds_continue_and_the_better_weights_take_the_place(whole, tmp_path, monkeypatch):
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rounds, "compare", lambda *args: replace(compare(*args), better=True))
    improve("--rounds", "2")
    journal = told()
    assert [one["number"] for one in journal["rounds"]] == [0, 1, 2]
    assert journal["rounds"][:2] == told(whole[0] / "out")["rounds"]
    assert journal["rounds"][2]["kept"] and journal["best"] == str(Path("out/round-2/model"))


def test_two_processes_train_as_one_and_a_family_is_measured_by_one_of_it(folder, whole, monkeypatch):
    for name in NAMES:
        monkeypatch.setitem(catalogue(), name, replace(catalogue()[name], family="both"))
    improve("--per-family", "1", jobs=2)
    start, one = told()["rounds"]
    assert start["environments"] == one["environments"] == 1
    assert set(one["picked"]) == set(NAMES)  # the other lags as much, so far as anybody knows
    trained = read_json(folder / "out" / "round-1" / "model" / "training.json")
    assert trained["steps"] == 3 and trained["arguments"]["batch_size"] == 1
    assert trained["transitions"] == 6 * LDMConfig(**TINY).default_segment


@pytest.mark.parametrize(("batch", "most", "count"), [(16, 2, 2), (16, 3, 2), (9, 4, 3), (7, 4, 1), (2, 0, 1)])
def test_processes_share_a_batch_evenly(batch, most, count):
    assert retraining.most_processes(batch, most) == count


def test_minutes_are_split_by_what_was_measured(folder):
    """Without numbers of steps and updates, the clock decides; the whole takes little more than a round's minutes."""
    improve(minutes=0.05, steps=None, updates=None)
    one = told()["rounds"][1]
    assert one["limit"] is not None and one["limit"] <= 0.05 and one["trained"] > 0
    assert set(one["speeds"]) <= set(NAMES) and all(speed > 0 for _, speed in one["speeds"].values())


@pytest.mark.parametrize(
    ("others", "places", "kind", "message"),
    [
        (
            ("--ids", "CartPole-v1,FrozenLake-v1"),
            {},
            DatasetError,
            "FrozenLake-v1 is not in data; add it by `ldm",
        ),
        (("--ids", "CartPool-v7"), {}, UnknownEnvironmentError, "no environment 'CartPool-v7'"),
        (("--ids", "Bandless-v0"), {}, UnknownEnvironmentError, "Bandless"),
        ((), {"model": "data"}, CheckpointError, "no usable LDM at data"),
        ((), {"dataset": "nowhere"}, DatasetError, "nowhere is no folder"),
    ],
    ids=["not in the dataset", "unknown", "unknown too", "no model", "no dataset"],
)
def test_what_is_missing_is_told_before_anything_begins(folder, others, places, kind, message):
    with pytest.raises(kind, match=message):
        improve(*others, **places)
    assert not (folder / "out" / "improve.json").exists()


def test_an_environment_without_a_reference_is_told(folder, monkeypatch):
    shutil.copytree(folder / "data" / "CartPole-v1", folder / "data" / "Blackless-v0")
    monkeypatch.setitem(catalogue(), "Blackless-v0", EnvironmentSpec("Blackless-v0", "Blackjack-v1"))
    with pytest.raises(LDMError, match="Blackless-v0"):
        improve("--ids", "Blackless-v0")


def test_a_round_alters_segments_as_the_model_was_trained(tmp_path):
    assert retraining.recipe_of("ldm/of-the-hub") == {}
    told_of = {"hide_previous_actions": 0.5, "repeated_labels": 0.2, "disguised_share": "many", "learning_rate": 1}
    run = {"steps": 1, "transitions": 1, "minutes": 1.0, "arguments": told_of}
    (tmp_path / "training.json").write_text(json.dumps(run))
    assert retraining.recipe_of(str(tmp_path)) == {"hide_previous_actions": 0.5, "repeated_labels": 0.2}


def test_what_has_no_reference_is_trained_on_but_not_played(folder):
    """A log of decisions in the same dataset, say."""
    log = folder / "data" / "Log-v0"
    shutil.copytree(folder / "data" / "CartPole-v1", log)
    told_of = json.loads((log / "environment.json").read_text()) | {"name": "Log-v0", "env_id": "Log-v0"}
    (log / "environment.json").write_text(json.dumps(told_of))
    options = Improvement(model="model", dataset="data", output="out")
    assert [spec.name for spec in rounds._environments(options)] == list(NAMES)
    with pytest.raises(LDMError, match=r"no environment of .* has a reference"):
        for name in NAMES:
            shutil.rmtree(folder / "data" / name)
        rounds._environments(options)


def test_a_full_disk_ends_the_command_and_loses_nothing(folder, whole, monkeypatch):
    full = DatasetError("CartPole-v1: writing failed (No space left on device). Free some space and run it again.")
    with monkeypatch.context() as patch:
        patch.setattr(rounds, "collect", lambda *args, **kwargs: {"CartPole-v1": full})
        with pytest.raises(DatasetError, match="Free some space and run it again"):
            improve()
    assert "collected" not in told()["rounds"][1] and told()["rounds"][0]["kept"]
    improve()
    assert without_times(told()) == without_times(told(whole[0] / "out"))


def test_a_damaged_journal_is_named(folder):
    (folder / "out").mkdir()
    (folder / "out" / "improve.json").write_text('{"options": {}, "rounds": [1]}')
    with pytest.raises(CheckpointError, match=r"improve\.json is damaged"):
        improve()


def test_matching_the_reference_is_a_one_sided_test():
    rng = np.random.default_rng(0)

    def measured(mean, deviation=1.0, episodes=20):
        returns = rng.standard_normal(episodes)
        returns = mean + deviation * (returns - returns.mean()) / returns.std(ddof=1)
        return {"mean": float(returns.mean()), "returns": returns.tolist(), "episodes": episodes}

    reference = measured(10.0)
    assert is_matched(measured(10.5), reference) and is_matched(measured(9.6), reference)  # t = 1.26 of 1.69
    assert not is_matched(measured(9.4), reference)  # t = 1.90
    known = {"mean": 10.0, "ci": 1.96 / np.sqrt(50), "episodes": 50}
    assert is_matched(measured(9.7), known) and not is_matched(measured(9.4), known)
    exact = {"mean": 10.0, "std": 0.0, "episodes": 20}
    assert is_matched(exact, exact) and not is_matched({**exact, "mean": 9.999}, exact)
    assert not is_matched({"mean": 9.0, "episodes": 1, "returns": [9.0]}, exact)
