"""`ldm reference`: what it tries in which order, what it records, and that it goes on where it was interrupted."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.cli.reference import seconds
from ldm_hf.environments import EnvironmentSpec, catalogue, get_spec, library_folders, make
from ldm_hf.environments.specs import fingerprint
from ldm_hf.errors import CheckpointError, EnvironmentFailure, LDMError, UnsupportedSpaceError
from ldm_hf.references import Reference, load_reference, method_of, reference_scores
from ldm_hf.references import finding as factory
from ldm_hf.references.finding import EPISODES, FEWEST_EPISODES, candidates, find_reference, find_references
from ldm_hf.references.learned import training
from ldm_hf.references.learned.spaces import Adapter
from ldm_hf.references.learned.training import JOURNAL, SLICES, train_reference
from ldm_hf.references.loading import known_policies
from ldm_hf.references.records import Record
from ldm_hf.references.report import markdown_report
from ldm_hf.references.scores import entry, save_scores


class Levers(gymnasium.Env):
    """The lever 2 of three pays 1 in each of five steps; with ``endless``, lever 1 keeps the episode going for ever."""

    observation_space, action_space = spaces.Box(0, 5, (1,)), spaces.Discrete(3)

    def __init__(self, endless=False):
        self.endless = endless

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        over = self.steps >= 5 and not (self.endless and action == 1)
        return np.full(1, min(self.steps, 5), np.float32), float(action == 2), over, False, {}


gymnasium.register("Levers-v0", entry_point=Levers)
LEVERS = EnvironmentSpec("Levers", env_id="Levers-v0", library="levers")
LAKE = get_spec("FrozenLake-v1")


class Puller(Reference):
    """Pulls one lever in any world of the name that `worlds` tells."""

    worlds = ("Levers",)
    lever = 2

    def act(self, env, observation, info):
        return np.int64(self.lever)


class Wrong(Puller):
    method = "tabular"  # so that it is tried before the others
    lever = 0


class Broken(Wrong):
    def act(self, env, observation, info):
        raise ZeroDivisionError("out of order")


@pytest.fixture()
def policies(monkeypatch):
    """Only the policies that a test adds, and the last resorts."""
    known = {name: known_policies()[name] for name in factory.LAST_RESORTS if name != "rl"}
    monkeypatch.setattr(factory, "known_policies", lambda: known)
    monkeypatch.setattr("ldm_hf.references.loading.known_policies", lambda: known)
    return known


# --- what is tried ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FrozenLake-v1", ["value_iteration", "constant", "rl"]),
        ("CartPole-v1", ["cartpole", "constant", "rl"]),
        ("Acrobot-v1", ["acrobot", "constant", "rl"]),  # its row names rl
        ("HalfCheetah-v5", ["constant", "gait", "rl"]),
        ("MiniGrid-Empty-5x5-v0", ["maze_search", "constant", "rl"]),
        ("MiniGrid-Dynamic-Obstacles-5x5-v0", ["obstacle_dodger", "constant", "rl"]),
        ("BabyAI-GoToObj-v0", ["babyai_bot", "constant", "rl"]),
        ("popgym-PositionOnlyCartPoleEasy-v0", ["hidden_cartpole", "constant", "rl"]),
        ("bsuite-catch", ["bsuite", "constant", "rl"]),
    ],
)
def test_what_fits_is_tried_in_order_of_cost(name, expected):
    env = make(name)
    assert candidates(get_spec(name), env) == expected
    env.close()


def test_what_the_row_names_comes_first(policies):
    policies |= {"puller": Puller, "wrong": Wrong}
    env = make(LEVERS)
    assert candidates(LEVERS, env) == ["wrong", "puller", "constant", "rl"]  # tabular before heuristic
    assert candidates(replace(LEVERS, reference="my:Policy"), env)[0] == "my:Policy"


def test_it_stops_when_a_policy_is_good_and_records_every_attempt(policies, tmp_path):
    policies |= {"broken": Broken, "wrong": Wrong, "puller": Puller}
    record = find_reference(LEVERS, tmp_path, budget=10)
    assert [attempt.reference for attempt in record.attempts] == ["broken", "wrong", "puller"]
    broken, wrong, puller = record.attempts
    assert broken.score is None and "ZeroDivisionError: out of order" in broken.error
    assert wrong.score["mean"] == 0 and puller.score["mean"] == 5 and puller.score["ci"] == 0
    assert record.best is puller and record.beats_random and record.good and record.finished
    assert record.random["mean"] == pytest.approx(5 / 3, abs=0.6)
    for score in (record.random, puller.score):
        assert score["episodes"] == EPISODES and score["seed"] == 1_000_000
    saved = json.loads((tmp_path / "Levers/attempts.json").read_text())
    assert [attempt["reference"] for attempt in saved["attempts"]] == ["broken", "wrong", "puller"]
    assert saved["versions"]["gymnasium"] == gymnasium.__version__


def test_a_row_without_reference_gets_the_one_that_was_found(policies, tmp_path):
    policies |= {"puller": Puller}
    with pytest.raises(LDMError, match="ldm reference --ids Levers"):
        load_reference(LEVERS, tmp_path)
    find_reference(LEVERS, tmp_path, budget=10)
    assert load_reference(LEVERS, tmp_path).act(None, None, {}) == 2


def test_the_best_constant_action_is_a_last_resort(policies, tmp_path):
    record = find_reference(LEVERS, tmp_path, budget=1)  # too little to learn anything
    (attempt,) = record.attempts
    assert (attempt.reference, attempt.kwargs, attempt.score["mean"]) == ("constant", {"choice": 2}, 5.0)
    assert record.beats_random and not record.good


def test_the_librarys_threshold_decides_what_a_last_resort_is_worth(policies, tmp_path, monkeypatch):
    monkeypatch.setattr(gymnasium.spec("Levers-v0"), "reward_threshold", 4.9)
    assert find_reference(LEVERS, tmp_path, budget=1).good


def test_an_episode_without_an_end_is_an_error_of_that_attempt(policies, tmp_path, monkeypatch):
    class Staller(Puller):
        lever = 1

    policies |= {"staller": Staller}
    monkeypatch.setattr(factory, "LONGEST_EPISODE", 200)
    record = find_reference(replace(LEVERS, kwargs={"endless": True}), tmp_path, budget=1)
    staller, constant = record.attempts
    assert "has not ended after 200 steps" in staller.error
    assert constant.kwargs == {"choice": 2}  # and not the one that goes on for ever


class Thinker(Puller):
    """Takes a tenth of a second for an episode."""

    def act(self, env, observation, info):
        time.sleep(0.02)
        return super().act(env, observation, info)


def test_what_takes_longer_than_the_budget_is_left_for_a_larger_one(policies, tmp_path, monkeypatch):
    monkeypatch.setattr(factory, "EPISODES", 8)
    policies |= {"thinker": Thinker}
    record = find_reference(LEVERS, tmp_path, budget=0.4)
    assert [a.reference for a in record.attempts] in ([], ["constant"]) and record.finished and not record.good
    record = find_reference(LEVERS, tmp_path, budget=20)
    assert record.attempts[-1].reference == "thinker" and record.good
    failures = find_references([LEVERS], tmp_path / "other", budget=0.0)
    assert "longer than the budget" in str(failures["Levers"])


def test_the_episodes_that_have_ended_count_when_the_time_is_over(policies, tmp_path):
    policies |= {"thinker": Thinker}
    record = find_reference(LEVERS, tmp_path, budget=2)
    thinker = record.attempts[0]
    assert thinker.reference == "thinker" and record.good and thinker.score["mean"] == 5
    assert FEWEST_EPISODES <= thinker.score["episodes"] < EPISODES == record.random["episodes"]
    assert entry(record)["episodes"] == thinker.score["episodes"]


# --- resuming --------------------------------------------------------------------------------------------------------


@pytest.fixture()
def counted(monkeypatch):
    """Counts measurements; the one whose number is put into ``stop`` is interrupted."""
    calls, measure = {"made": 0, "stop": None}, factory.measure

    def counting(spec, policy, deadline):
        calls["made"] += 1
        if calls["made"] == calls["stop"]:
            raise KeyboardInterrupt
        return measure(spec, policy, deadline)

    monkeypatch.setattr(factory, "measure", counting)
    return calls


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_interrupted_it_goes_on_where_it_was(stop, policies, counted, tmp_path):
    policies |= {"wrong": Wrong, "puller": Puller}
    counted["stop"] = stop
    with pytest.raises(KeyboardInterrupt):
        find_reference(LEVERS, tmp_path, budget=10)
    record = find_reference(LEVERS, tmp_path, budget=10)
    assert counted["made"] == 3 + 1  # random, wrong, puller; and the interrupted one again
    assert [attempt.reference for attempt in record.attempts] == ["wrong", "puller"] and record.finished


def test_what_is_finished_is_not_done_again(policies, counted, tmp_path):
    policies |= {"puller": Puller}
    first = find_reference(LEVERS, tmp_path, budget=10)
    assert find_reference(LEVERS, tmp_path, budget=100) == first and counted["made"] == 2
    find_reference(LEVERS, tmp_path, budget=10, force=True)
    assert counted["made"] == 4
    find_reference(replace(LEVERS, max_episode_steps=3), tmp_path, budget=10)  # another environment under the name
    assert counted["made"] == 6


def test_a_larger_budget_goes_on_where_nothing_was_good(policies, counted, tmp_path, monkeypatch):
    monkeypatch.setattr(factory, "train_reference", lambda *arguments, **settings: {"algorithm": "none"})
    monkeypatch.setattr(factory, "SHORTEST_TRAINING", 5.0)
    assert [a.reference for a in find_reference(LEVERS, tmp_path, budget=1).attempts] == ["constant"]
    assert counted["made"] == 2
    again = find_reference(LEVERS, tmp_path, budget=100)
    assert [a.reference for a in again.attempts] == ["constant", "rl"]
    assert "no reference policy" in again.attempts[1].error  # nothing was really trained here
    assert counted["made"] == 2 + 1


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "Levers").mkdir()
    (tmp_path / "Levers/attempts.json").write_text('{"name": "Levers"')
    with pytest.raises(CheckpointError, match=r"attempts.json is damaged.*remove it"):
        find_reference(LEVERS, tmp_path)


def test_one_environment_that_fails_does_not_stop_the_others(policies, tmp_path):
    policies |= {"puller": Puller}
    kept = []
    broken = replace(LEVERS, name="Plant", kwargs={"nonsense": 1})
    failures = find_references([broken, LEVERS], tmp_path, budget=1, on_record=kept.append)
    assert list(failures) == ["Plant"] and isinstance(failures["Plant"], EnvironmentFailure)
    assert [record.name for record in kept] == ["Levers"]


# --- training --------------------------------------------------------------------------------------------------------

FROZEN = {"learning_rate": 0.0, "n_steps": 16, "batch_size": 32, "n_envs": 2, "n_epochs": 2}
LEARNING = FROZEN | {"learning_rate": 0.01, "n_steps": 32}


@pytest.fixture()
def two_configurations(monkeypatch):
    """One that learns nothing, then one that learns; no others. Five evaluation episodes are enough."""

    def configurations(adapter, chosen):
        defaults = training_defaults(adapter, {})[0]
        return [defaults | {"net_arch": [16]} | settings for settings in (LEARNING, FROZEN)]

    training_defaults = training.configurations
    monkeypatch.setattr(training, "configurations", configurations)
    monkeypatch.setattr(training, "CONFIGURATIONS", 2)
    monkeypatch.setattr(training, "PATIENCE", SLICES)


def test_the_worse_configuration_is_stopped_early(two_configurations, tmp_path):
    record = train_reference(LEVERS, tmp_path, budget=8)
    learning, frozen = record["configurations"]
    assert record["score"] == 5 and record["hyperparameters"]["learning_rate"] == 0.01
    assert len(learning["scores"]) == SLICES and len(frozen["scores"]) < SLICES
    assert not (tmp_path / "Levers" / JOURNAL).exists()
    found = load_reference(replace(LEVERS, reference="rl"), tmp_path)
    assert found.act(None, np.array([3], np.float32), {}) == 2


def test_training_goes_on_after_an_interruption(two_configurations, tmp_path, monkeypatch):
    evaluate, calls = training._Competition._evaluate, []

    def interrupted(self, model):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(self, model)

    monkeypatch.setattr(training._Competition, "_evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_reference(LEVERS, tmp_path, budget=3)
    assert (tmp_path / "Levers/policy.json").exists()  # the best so far is there already
    record = train_reference(LEVERS, tmp_path, budget=3)
    assert not (tmp_path / "Levers" / JOURNAL).exists()
    first, *others = record["configurations"]
    assert len(first["scores"]) == 2 and others  # the interrupted one counts as time spent, and is tried again
    assert record["seconds"] >= first["seconds"] + others[0]["seconds"] > 0


def test_a_target_ends_the_training(two_configurations, tmp_path):
    spec = replace(LEVERS, reference="rl", reference_kwargs={"target": 4.5, "seconds": 20})
    record = train_reference(spec, tmp_path)
    assert record["score"] >= 4.5 and record["seconds"] < 15
    assert len(record["configurations"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["tqc", "sac"])
def test_continuous_control_is_learned_off_policy_and_saved(algorithm, tmp_path):
    pytest.importorskip("sb3_contrib")
    small = {"algorithm": algorithm, "net_arch": [16], "learning_starts": 50, "seconds": 3}
    spec = replace(get_spec("Pendulum-v1"), reference="rl", reference_kwargs=small)
    record = train_reference(spec, tmp_path)
    assert record["algorithm"] == algorithm.upper()
    reference, env = load_reference(spec, tmp_path), make(spec)
    observation, _ = env.reset(seed=0)
    actions = [reference.act(env, observation, {}) for _ in range(2)]
    assert env.action_space.contains(actions[0]) and np.array_equal(*actions)


# --- adapters --------------------------------------------------------------------------------------------------------

CHOICES = st.sampled_from([spaces.Discrete(3, start=2), spaces.MultiDiscrete([2, 5]), spaces.MultiBinary(3)])
NUMBERS = st.sampled_from([spaces.Box(-2, 3, (2,)), spaces.Box(0, 1, (2, 2), np.float64)])
FLAGS = st.just(spaces.Box(0, 1, (3,), np.int32))


@given(st.lists(CHOICES | NUMBERS | st.just(spaces.Text(5)), min_size=1, max_size=4), st.integers(0, 99))
def test_observations_become_members_of_the_learned_space(parts, seed):
    space = spaces.Tuple(parts)
    space.seed(seed)
    if all(isinstance(part, spaces.Text) for part in parts):
        with pytest.raises(UnsupportedSpaceError, match="nothing but text"):
            Adapter(space, spaces.Discrete(2))
        return
    adapter = Adapter(space, spaces.Discrete(2))
    seen = adapter.observation(space.sample())
    assert adapter.observation_space.contains(seen)


@given(
    st.lists(CHOICES | FLAGS, min_size=1, max_size=3) | st.lists(NUMBERS, min_size=1, max_size=3), st.integers(0, 99)
)
def test_learned_actions_become_members_of_the_environments_space(parts, seed):
    for space in (spaces.Tuple(parts), parts[0]):
        adapter = Adapter(spaces.Box(-1, 1, (2,)), space)
        adapter.action_space.seed(seed)
        assert space.contains(adapter.action(adapter.action_space.sample()))


def test_mixed_and_unbounded_actions_are_refused():
    mixed = spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))])
    for space in (mixed, spaces.Box(-np.inf, np.inf, (2,))):
        with pytest.raises(UnsupportedSpaceError, match="no algorithm learns to act"):
            Adapter(spaces.Box(-1, 1, (2,)), space)


def test_channels_of_images_come_first():
    adapter = Adapter(spaces.Box(0, 255, (48, 64, 3), np.uint8), spaces.Discrete(2))
    picture = np.arange(48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8)
    assert adapter.image and np.array_equal(adapter.observation(picture)[1], picture[:, :, 1])
    assert adapter.observation_space.contains(adapter.observation(picture))


# --- scores ----------------------------------------------------------------------------------------------------------


def record_of(spec, random, reference, name="constant", method="heuristic"):
    score = {"std": 1.0, "episodes": 50, "seed": 1_000_000}
    record = Record(spec.name, fingerprint(spec), f"{spec.library} 1", random=score | random, finished=True)
    record.attempts.append(factory.Attempt(name, {}, method, 1.0, score | reference))
    return record


def test_scores_of_other_environments_stay(recorded):
    lake = record_of(LAKE, {"mean": 0.0, "ci": 0.1}, {"mean": 0.7, "ci": 0.1}, "value_iteration", "tabular")
    cart = record_of(get_spec("CartPole-v1"), {"mean": 20, "ci": 3}, {"mean": 25, "ci": 3})
    save_scores([lake])
    save_scores([cart])
    written = reference_scores()
    assert written == {"CartPole-v1": entry(cart), "FrozenLake-v1": entry(lake)}
    assert (
        written["FrozenLake-v1"]["beats_random"] and not written["CartPole-v1"]["beats_random"]
    )  # 22 to 28, 17 to 23
    path = recorded / "gymnasium" / "measured.json"
    assert len([line for line in path.read_text().splitlines() if "mean" in line]) == 2  # a line an environment
    report = markdown_report(written, "ldm reference")
    assert "1 of 2 environments tried" in report
    assert re.search(r"\| toy_text \| \d+ \| \d+ \| 1 \| 1 \| 1 \| 0 \|", report)  # tried, better, families
    assert re.search(r"\| control \| \d+ \| \d+ \| 1 \| 0 \| 0 \| 0 \|", report)
    path.write_text("{")
    library_folders.measured.cache_clear()
    with pytest.raises(LDMError, match="cannot be read"):
        reference_scores()


def test_scores_of_an_environment_of_ones_own_have_no_folder(recorded):
    mine = EnvironmentSpec("Mine-v0", "CartPole-v1", library="mine")
    with pytest.raises(LDMError, match="mine has no folder"):
        library_folders.save_measured("scores", mine.library, {mine.name: {}})


PACKAGED = reference_scores()


def test_packaged_scores_are_of_the_catalogue():
    assert PACKAGED
    for name, told in PACKAGED.items():
        assert name in catalogue(), f"{name} has scores and no row"
        assert told["policy"] in (None, "rl", *known_policies()), name
        assert told["episodes"] >= FEWEST_EPISODES and told["seed"] == factory.HELD_OUT_SEED, name
        measured = [attempt for attempt in told["attempts"] if "mean" in attempt]
        best = max(measured, key=lambda attempt: attempt["mean"], default=None)
        assert (best and best["policy"]) == told["policy"], name
        if told["reference"]:
            apart = told["reference"]["mean"] - told["reference"]["ci"] - told["random"]["mean"] - told["random"]["ci"]
            assert (apart > 0) == told["beats_random"] or abs(apart) < 1e-5 * abs(told["random"]["mean"]), name
        spec = get_spec(name)
        if told["library"] == f"{spec.library} {spec.version}":  # measured with what is installed
            assert told["row"] == fingerprint(spec), f"the row {name} has changed since; measure it again"


def test_references_of_every_domain_beat_random():
    better = {name for name, told in PACKAGED.items() if told["beats_random"]}
    assert len(better) >= 250
    assert {get_spec(name).domain for name in better} == {spec.domain for spec in catalogue().values()}


def test_rows_without_a_name_have_the_reference_of_the_scores():
    found = [name for name, told in PACKAGED.items() if told["beats_random"] and get_spec(name).reference is None]
    found.sort(key=lambda name: PACKAGED[name]["seconds"])
    assert found
    for name in found:
        assert method_of(get_spec(name)) == PACKAGED[name]["method"], name
    assert load_reference(get_spec(found[0]), "nowhere").method == PACKAGED[found[0]]["method"]


POLICIES_FOLDER = Path(__file__).parents[2] / "model_cards/ldm-reference-policies"
LEARNED = sorted(path.parent.name for path in POLICIES_FOLDER.glob("*/policy.json"))


def test_learned_policies_of_the_scores_are_kept_and_small():
    told = {name for name, scores in PACKAGED.items() if scores["policy"] == "rl" and scores["beats_random"]}
    assert told == set(LEARNED) and LEARNED
    assert sum(path.stat().st_size for path in POLICIES_FOLDER.rglob("*")) < 25e6


@pytest.mark.parametrize("name", LEARNED)
def test_kept_policies_act(name):
    reference, env = load_reference(get_spec(name), POLICIES_FOLDER), make(name)
    observation, info = env.reset(seed=0)
    reference.reset(env)
    assert reference.method == "rl"
    assert env.action_space.contains(reference.act(env, observation, info))
    env.close()


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400)])
def test_budgets_are_times(text, expected):
    assert seconds(text) == expected


def test_a_budget_that_is_no_time_is_refused():
    with pytest.raises(LDMError, match="--budget 'long' is no time"):
        seconds("long")
