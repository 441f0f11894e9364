"""`ldm evaluate --logs`: which episodes are judged, what a model would have done in them, and what is said of it."""

import json
import sys

import numpy as np
import pytest
from gymnasium import spaces
from typer.testing import CliRunner

from ldm_hf import LDMAgent, LDMProcessor
from ldm_hf.agent import load_model
from ldm_hf.cli.app import app
from ldm_hf.errors import DatasetError, LDMError, MissingExtraError, SpaceMismatchError, UnknownEnvironmentError
from ldm_hf.offline import evaluate_logs, off_policy
from ldm_hf.offline.agreement import baselines, behaviour_of, compare
from ldm_hf.offline.off_policy import estimate_returns
from ldm_hf.offline.proposing import propose
from ldm_hf.offline.rows import ActionTable, Element, Rows, read_rows
from ldm_hf.spaces import space_to_json
from ldm_hf.training import processor_for
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, open_dataset, splitting

from ..runs import write_model

OBSERVATION = spaces.Dict({"level": spaces.Box(-9, 9, (2,)), "shift": spaces.Discrete(3)})
ACTION = spaces.Dict({"pump": spaces.Discrete(3), "valve": spaces.Box(0, 2, (2,))})
OWNERS = ["north"] * 6 + ["south"] * 4


def write_log(folder, owners=OWNERS, space=ACTION, rewards=True, act=None, name="Plant-v0"):
    """Episodes of 7 steps, in which the level tells what is done."""
    rng = np.random.default_rng(0)
    info = EnvironmentInfo(name, name, space_to_json(OBSERVATION), space_to_json(space), task="Pump.")
    with TrajectoryWriter(folder, info) as writer:
        for number, owner in enumerate(owners):
            level = rng.uniform(-2, 2, (7, 2)).astype(np.float32)
            action = {
                "pump": (level[:, 0] > -1).astype(np.int64) + (level[:, 0] > 0),
                "valve": np.abs(level).astype(np.float32),
            }
            ends = np.arange(7) == 6
            episode = {
                "observation": {"level": level, "shift": rng.integers(0, 3, 7)},
                "action": act(action) if act else action,
                "label": act(action) if act else action,
                "reward": rewards * level[:, 0],
                "terminated": ends & False,
                "truncated": ends,
            }
            told = {"entity": owner, "time": f"2026-03-{number + 1:02}"} if owner else {}
            writer.write(episode | told)
    return open_dataset(folder)[name]


@pytest.fixture()
def plant(tmp_path):
    """A log and a model that knows its environment, in one folder."""
    stream = write_log(tmp_path / "log")
    write_model(tmp_path / "model")
    model, processor = load_model(tmp_path / "model")
    processor_for(model.config, {"Plant-v0": stream}, processor).save_pretrained(tmp_path / "model")
    return tmp_path


def evaluate(*options):
    return CliRunner().invoke(app, ["evaluate", *map(str, options)])


# --- which episodes are for the test ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [("0.25", [4, 5, 9]), ("0.01", [5, 9]), ("0.99", [1, 2, 3, 4, 5, 7, 8, 9]), ("south", [6, 7, 8, 9])],
)
def test_the_last_episodes_of_each_entity_or_whole_entities_are_for_the_test(tmp_path, rule, chosen):
    stream = write_log(tmp_path)
    assert np.flatnonzero(splitting.test_episodes(stream, rule)).tolist() == chosen
    trained = open_dataset(tmp_path, test_episodes=rule)["Plant-v0"]
    assert sorted([*trained.episodes, *chosen]) == list(range(10))


@pytest.mark.parametrize(
    ("owners", "rule", "message"),
    [
        (OWNERS, "east", "has no entity 'east'; it has: north, south"),
        (OWNERS, "north, south", "nothing is left to train on"),
        (OWNERS, "1.5", "between 0 and 1, not 1.5"),
        (["north", "south"], "0.2", r"each of its 2 entities has one episode only.*episode: COLUMN.*\(north, south\)"),
        ([""], "0.2", "it has one episode only"),
        (["", ""], "north", "it records no entities: give a share"),
    ],
)
def test_a_rule_that_leaves_nothing_is_told(tmp_path, owners, rule, message):
    with pytest.raises(DatasetError, match=message):
        splitting.test_episodes(write_log(tmp_path, owners), rule)


# --- what the model would have done ----------------------------------------------------------------------------------


def test_proposals_are_those_of_an_agent_that_is_told_what_was_logged(plant):
    stream = open_dataset(plant / "log")["Plant-v0"]
    model, processor = load_model(plant / "model")
    layout = processor.layout("Plant-v0")
    chosen = np.array([4, 5, 8])
    proposed = propose(model, processor, stream, chosen, splitting.entities(stream))
    by_hand = {path: [] for path in proposed}
    for first, stop in ((0, 6), (6, 10)):  # an agent for each entity
        agent = LDMAgent(model, processor, (OBSERVATION, ACTION), environment="Plant-v0")
        feedback = ()
        for number in range(first, stop):
            steps = stream.slice(*stream.episode_starts[number : number + 2])
            logged = layout.actions.positions(steps["action"])
            for step in range(7):
                observation = {path: values[step] for path, values in steps["observation"].items()}
                action = agent.act(observation, *feedback)
                agent.state.positions = logged[step : step + 1]
                feedback = tuple(steps[field][step] for field in ("reward", "terminated", "truncated"))
                if number in chosen:
                    for path, values in by_hand.items():
                        values.append(action[path])
    np.testing.assert_array_equal(proposed["pump"], by_hand["pump"])
    np.testing.assert_allclose(proposed["valve"], np.stack(by_hand["valve"]), atol=1e-4)


def test_rows_tell_of_their_own_episode_only(plant):
    stream = open_dataset(plant / "log")["Plant-v0"]
    table = ActionTable(ACTION, LDMProcessor.from_pretrained(plant / "model").layout("Plant-v0").actions)
    assert [(e.name, e.is_choice) for e in table.elements] == [
        ("pump", True),
        ("valve[0]", False),
        ("valve[1]", False),
    ]
    rows, left_out = read_rows(stream, np.array([1, 3]), table, np.zeros((14, 3)))
    assert left_out == [] and rows.episode.tolist() == [0] * 7 + [1] * 7 and rows.step[8] == 1
    assert np.isnan(rows.previous[[0, 7]]).all()
    np.testing.assert_array_equal(rows.previous[8], rows.actions[7])
    assert np.isnan(rows.features[7]).any() and not np.isnan(rows.features[3]).any()
    np.testing.assert_allclose(rows.returns, stream.episode_returns()[[1, 3]], rtol=1e-6)


# --- what is said of it ----------------------------------------------------------------------------------------------


def rows_of(features, actions, proposed, reward, length):
    count = len(actions) // length
    step = np.tile(np.arange(length), count)
    previous = np.where(step[:, None] == 0, np.nan, np.roll(actions, 1, axis=0))
    return Rows(
        np.arange(count), np.repeat(np.arange(count), length), step, features, previous, actions, proposed, reward,
        step == length - 1,
    )  # fmt: skip


def test_a_better_model_is_told_from_a_worse_one_by_its_intervals():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 1))
    actions = np.concatenate([(x > 0).astype(float), 3 * x], axis=1)
    elements = [Element("switch", True, ("off", "on")), Element("power", False)]
    train, test = (rows_of(x, actions, values, np.zeros(200), 10) for values in (actions, actions + np.array([0, 9])))
    others = baselines(train, test, elements, behaviour_of(train, elements))
    found = compare(test, others, elements)
    switch, power = found["switch"], found["power"]
    assert switch["contenders"]["LDM"] == {"mean": 1, "interval": [1, 1]} and switch["verdict"] == "as good"
    assert power["verdict"] == "worse" and power["contenders"]["LDM"]["mean"] == pytest.approx(9)
    assert (
        switch["contenders"]["gradient boosting"]["mean"] > 0.98
        and switch["contenders"]["nearest neighbour"]["mean"] == 1
    )
    assert 0.4 < switch["contenders"]["last action again"]["mean"] < 0.6
    low, high = power["contenders"]["most frequent action"]["interval"]
    assert low < power["contenders"]["most frequent action"]["mean"] < high
    single = rows_of(x[:10], actions[:10], actions[:10], np.zeros(10), 10)
    single = compare(single, baselines(train, single, elements, behaviour_of(train, elements)), elements)
    assert single["switch"]["contenders"]["LDM"]["interval"] is None and single["switch"]["verdict"] == "as good"


def chain(policy, episodes, seed, length=8):
    """A walk: an action moves it up or down, and the reward is where it is. Logged by ``policy(x, rng)``."""
    rng = np.random.default_rng(seed)
    x, found = rng.normal(size=episodes), []
    for _ in range(length):
        action = policy(x, rng)
        found.append((x, action, x + 0.0))
        x = 0.8 * x + 0.5 * (2 * action - 1) + 0.1 * rng.normal(size=episodes)
    state, action, reward = (np.stack(values, 1).reshape(-1, 1) for values in zip(*found, strict=True))
    target = (state < 0).astype(float)  # always back to the middle
    steps = np.tile(np.arange(length), episodes)[:, None]
    return rows_of(np.concatenate([state, steps], 1), action, target, reward[:, 0], length)


def test_estimates_are_near_the_truth_where_the_log_tries_all_and_say_so_where_it_does_not():
    truth = chain(lambda x, rng: (x < 0).astype(float), 4000, 3).returns.mean()
    elements = [Element("move", True)]

    def biased(x, rng):  # mostly up
        return (rng.random(len(x)) < np.where(x < 0, 0.8, 0.6)).astype(float)

    log = chain(biased, 200, 0)
    found = estimate_returns(log, chain(biased, 150, 1), behaviour_of(log, elements))
    assert abs(found["logged"]["mean"] - truth) > 2
    assert abs(found["fitted_q"]["mean"] - truth) < 0.7 and abs(found["doubly_robust"]["mean"] - truth) < 0.7
    assert 0 < found["support"]["steps"] <= 8 and found["support"]["effective"] > 5

    def upwards(x, rng):
        return np.ones(len(x))

    alike = chain(upwards, 100, 0)
    blind = estimate_returns(alike, chain(upwards, 50, 1), behaviour_of(alike, elements))
    assert blind["support"]["unlikely"] > 0.5 and any("hardly ever" in note for note in blind["notes"])
    assert blind["support"]["steps"] < 8 and any("too seldom" in note for note in blind["notes"])
    numbers = estimate_returns(log, log, [])
    assert numbers["doubly_robust"] is None and any("no importance weights" in note for note in numbers["notes"])


def test_long_episodes_are_compared_in_pieces_as_long_as_the_estimate_looks_ahead(monkeypatch):
    monkeypatch.setattr(off_policy, "SWEEPS", 3)

    def either(x, rng):
        return (rng.random(len(x)) < 0.5).astype(float)

    log = chain(either, 200, 0)  # of 8 steps
    found = estimate_returns(log, log, behaviour_of(log, [Element("move", True)]))
    assert found["horizon"] == 3 and found["doubly_robust"] is None and found["support"] is None
    assert any("in pieces of 3 steps" in note for note in found["notes"])
    pieces = log.reward.reshape(200, 8)[:, :6].reshape(200, 2, 3).sum(2)  # the last two steps are no whole piece
    assert found["logged"]["mean"] == pytest.approx(pieces.mean())
    low, high = found["logged"]["interval"]
    assert low < pieces.mean() < high < low + 1
    assert abs(found["fitted_q"]["mean"]) < 0.3  # the model walks back to the middle


def test_episodes_of_one_step_have_no_history_to_learn_from():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 1))
    move = (x > 0).astype(float)
    rows = rows_of(np.concatenate([x, np.full((200, 1), np.nan)], 1), move, move, move[:, 0], 1)
    elements = [Element("move", True)]
    behaviour = behaviour_of(rows, elements)
    found = compare(rows, baselines(rows, rows, elements, behaviour), elements)["move"]["contenders"]
    assert found["gradient boosting"]["mean"] > 0.95
    assert estimate_returns(rows, rows, behaviour)["fitted_q"]["mean"] == pytest.approx(move.mean(), abs=0.05)
    blind = rows_of(np.full((200, 1), np.nan), move, move, move[:, 0], 1)
    assert behaviour_of(blind, elements)[0](blind.features).shape == (200, 2)


def test_the_command_writes_a_report_a_person_can_read(plant, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    output = plant / "new" / "report.json"
    result = evaluate("--model", plant / "model", "--logs", plant / "log", "--output", output)
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_text())["environments"]["Plant-v0"]
    assert (found["test_episodes"], found["test_rows"], found["train_rows"]) == (2, 14, 56)
    assert found["entities"] == ["north", "south"] and set(found["elements"]) == {"pump", "valve[0]", "valve[1]"}
    assert {entry["time"] for entry in found["worst"]} == {"2026-03-06", "2026-03-10"}
    text = output.with_suffix(".md").read_text()
    assert "Careful: which episodes the model was trained on is not recorded" in text
    assert "gradient boosting" in text and "What these estimates assume" in text and "2026-03-10" in text
    assert "![logged and proposed actions](report-Plant-v0.png)" in text
    assert output.with_name("report-Plant-v0.png").stat().st_size > 5000
    assert "pump: the model agrees with the log in" in result.stdout


@pytest.mark.parametrize("option", [["--episodes", "3"], ["--policy", "reference"], ["--incognito"], ["--seed", "1"]])
def test_options_of_playing_are_refused(plant, option):
    result = evaluate("--model", plant / "model", "--logs", plant / "log", *option)
    assert result.exit_code != 0 and "with --logs nothing is played" in str(result.exception)


@pytest.mark.parametrize(
    ("dataset", "rule", "leak", "words"),
    [
        ("log", "0.2", False, "left these episodes out"),
        ("log", None, True, "THE MODEL WAS TRAINED ON THESE EPISODES"),
        ("log", "0.1", True, "THE MODEL WAS TRAINED ON THESE EPISODES"),
        ("other", "0.2", True, "was trained on"),
    ],
)
def test_what_the_model_was_trained_on_is_told(plant, dataset, rule, leak, words):
    arguments = {"dataset": str(plant / dataset), "test_episodes": rule}
    (plant / "model" / "training.json").write_text(json.dumps({"arguments": arguments}))
    results, _ = evaluate_logs(plant / "model", plant / "log", rule="0.2", progress=False)
    told = results["environments"]["Plant-v0"]
    assert told["leak"] == leak and words in told["trained_on"]
    if not leak:  # what the training left out is the default
        assert evaluate_logs(plant / "model", plant / "log", progress=False)[0]["test_episodes"] == "0.2"


# --- what cannot be judged -------------------------------------------------------------------------------------------


def test_a_log_without_rewards_has_no_return(plant):
    write_log(plant / "free", rewards=False)
    results, _ = evaluate_logs(plant / "model", plant / "free", progress=False)
    told = results["environments"]["Plant-v0"]
    assert told["off_policy"] is None and "the log has no rewards, so no return can be estimated" in told["notes"]


def test_what_cannot_be_judged_is_told_in_one_message(plant):
    write_log(plant / "unknown", name="Other-v0")
    with pytest.raises(UnknownEnvironmentError, match=r"knows no environment 'Other-v0'.*train it on the log first"):
        evaluate_logs(plant / "model", plant / "unknown", progress=False)
    write_log(plant / "single", owners=[""])
    with pytest.raises(DatasetError, match="it has one episode only"):
        evaluate_logs(plant / "model", plant / "single", progress=False)
    write_log(plant / "equal", act=lambda action: {path: 0 * values for path, values in action.items()})
    with pytest.raises(LDMError, match="all logged actions are the same"):
        evaluate_logs(plant / "model", plant / "equal", progress=False)
    wider = spaces.Dict({"pump": spaces.Discrete(4), "valve": ACTION["valve"]})
    write_log(plant / "wider", space=wider)
    with pytest.raises(SpaceMismatchError, match="the action space of Plant-v0 in the model differs"):
        evaluate_logs(plant / "model", plant / "wider", progress=False)
    assert (
        evaluate("--model", plant / "model", "--test-episodes", "0.2").exception.args[0].startswith("--test-episodes")
    )


def test_a_missing_scikit_learn_is_named(plant, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn is not installed.*ldm_hf\[logs\]"):
        evaluate_logs(plant / "model", plant / "log", progress=False)
