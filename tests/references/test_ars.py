"""Augmented random search: it learns, resumes exactly, starts from relatives, and refuses what it cannot read."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from safetensors.numpy import load_file, save_file

from ldm_hf.environments import EnvironmentSpec
from ldm_hf.errors import CheckpointError, UnsupportedSpaceError
from ldm_hf.references import load_reference
from ldm_hf.references.learned import ars
from ldm_hf.references.learned.algorithms import ARS, configurations
from ldm_hf.references.learned.ars import LinearSearch
from ldm_hf.references.learned.spaces import Adapter
from ldm_hf.references.learned.states import SEARCH
from ldm_hf.references.learned.training import JOURNAL, train_reference


class Follow(gymnasium.Env):
    """Pays for actions near ``gain`` times the position, which is random, in each of ten steps; 1 for being alive."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))

    def __init__(self, gain=1.0, choices=False, alive=0.0):
        self.gain, self.alive = gain, alive
        self.action_space = spaces.Discrete(3) if choices else spaces.Box(-4.0, 4.0, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10
        return self.observe(), {}

    def observe(self):
        self.position = self.np_random.normal(5.0, 1.0, 2).astype(np.float32)
        return self.position

    def step(self, action):
        wanted = self.gain * (self.position - 5)
        if isinstance(self.action_space, spaces.Discrete):
            earned = float(action == 2 * (wanted[0] > 0))  # 0 or 2
        else:
            earned = -float(np.square(action - wanted).sum())
        self.left -= 1
        info = {"reward_forward": earned, "reward_survive": self.alive}
        return self.observe(), earned + self.alive, self.left == 0, False, info


gymnasium.register("Follow-v0", entry_point=Follow)
ARS_ONLY = {"algorithm": "ars"}
FOLLOW = EnvironmentSpec("Follow", env_id="Follow-v0", library="follow")


def search(spec, place, seed=0, **settings):
    env = gymnasium.make(spec.env_id, **spec.kwargs)
    return LinearSearch.begin(spec, Adapter(env.observation_space, env.action_space), ARS | settings, seed, place)


def updated(learner, updates):
    while learner.updates < updates:
        learner.learn()
    return learner


def mean_return(spec, policy, episodes=10):
    env, total = gymnasium.make(spec.env_id, **spec.kwargs), 0.0
    for seed in range(episodes):
        (observation, info), over = env.reset(seed=seed), False
        while not over:
            observation, reward, terminated, truncated, info = env.step(policy.act(env, observation, info))
            total, over = total + float(reward), terminated or truncated
    return total / episodes


NOTHING = -20.0  # mean return of the action 0


def test_it_learns_a_linear_policy(tmp_path):
    learner = updated(search(FOLLOW, tmp_path), 30)
    assert learner.steps == 30 * 2 * ARS["directions"] * 10
    assert mean_return(FOLLOW, learner.reference()) > 0.1 * NOTHING


def test_what_it_learns_within_a_budget_is_stored_like_any_other_policy(tmp_path):
    record = train_reference(FOLLOW, tmp_path, budget=0.5, learning=ARS_ONLY)
    assert record["algorithm"] == "ARS" and record["steps"] > 0 and record["hyperparameters"]["net_arch"] == []
    assert {path.name for path in (tmp_path / "Follow").iterdir()} == {"policy.json", "policy.safetensors"}
    policy = load_reference(replace(FOLLOW, reference="rl"), tmp_path)
    assert mean_return(FOLLOW, policy) > NOTHING and policy.vectorised


def test_choices_are_made_by_the_highest_output(tmp_path):
    spec = replace(FOLLOW, kwargs={"choices": True})
    found = updated(search(spec, tmp_path), 30).reference()
    assert mean_return(spec, found) > 9  # of 10; one and the same choice gets 5
    assert {int(found.act(None, np.float32([x, 5]), {})) for x in (3.0, 7.0)} == {0, 2}


def test_it_acts_in_search_as_its_stored_policy_does(tmp_path):
    learner = updated(search(FOLLOW, tmp_path), 5)
    played = [learner._play(learner.weights, seed) for seed in range(5)]
    assert np.isclose(mean_return(FOLLOW, learner.reference(), 5), np.mean(played), rtol=1e-4)


@pytest.mark.parametrize("kwargs", [{}, {"choices": True}])
def test_a_linear_policy_acts_as_its_network_says(tmp_path, kwargs):
    spec = replace(FOLLOW, kwargs=kwargs)
    policy = updated(search(spec, tmp_path), 3).reference()
    observations = np.random.default_rng(0).normal(5, 3, (50, 2)).astype(np.float32)
    standard = np.clip((observations - policy.mean) / policy.deviation, -10, 10).astype(np.float32)
    expected = policy.policy.predict(standard, deterministic=True)[0]
    assert np.allclose(policy.act(None, observations, {}), expected, atol=1e-5)
    actions = [policy.act(None, observation, {}) for observation in observations]
    assert np.allclose(actions, expected, atol=1e-5)
    assert all(Follow(**kwargs).action_space.contains(action) for action in actions)


def test_after_an_interruption_it_comes_to_the_same_weights(tmp_path):
    whole = updated(search(FOLLOW, tmp_path / "whole"), 6)
    parts = updated(search(FOLLOW, tmp_path / "parts"), 3)
    parts.learn()  # lost: an update is done anew
    parts.close()
    resumed = updated(search(FOLLOW, tmp_path / "parts"), 6)
    assert resumed.updates == whole.updates and resumed.count == whole.count
    for name in ("weights", "mean", "squares"):
        assert np.array_equal(getattr(resumed, name), getattr(whole, name))
    assert not np.array_equal(updated(search(FOLLOW, tmp_path / "other", seed=1), 6).weights, whole.weights)


def test_an_interrupted_training_goes_on_and_removes_its_state(tmp_path, monkeypatch):
    learn, calls = LinearSearch.learn, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 20:  # after one update
            raise KeyboardInterrupt
        learn(self)

    monkeypatch.setattr(LinearSearch, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_reference(FOLLOW, tmp_path, budget=1.0, learning=ARS_ONLY)
    left = {path.name for path in (tmp_path / "Follow").iterdir()}
    assert {SEARCH, JOURNAL} <= left
    state = load_file(tmp_path / "Follow" / SEARCH)
    record = train_reference(FOLLOW, tmp_path, budget=1.0, learning=ARS_ONLY)
    assert list(state["progress"][:1]) == [1] and record["steps"] > state["progress"][1]
    assert not {SEARCH, JOURNAL} & {path.name for path in (tmp_path / "Follow").iterdir()}


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A folder with the policy of the row Relative."""
    folder, relative = tmp_path_factory.mktemp("references"), replace(FOLLOW, name="Relative", family="Follow")
    updated(search(relative, folder / "Relative"), 20).reference().save(
        folder / "Relative", gymnasium.make("Follow-v0"), [], {"algorithm": "ARS", "score": 0.0}
    )
    return folder, relative


@pytest.mark.parametrize(
    ("kwargs", "helps"), [({"gain": 1.1}, True), ({"gain": -1.0}, False), ({"choices": True}, False)]
)
def test_it_starts_from_a_relative_where_that_helps(family, tmp_path, monkeypatch, kwargs, helps):
    folder, relative = family
    spec = replace(relative, name="Follow", kwargs=kwargs)
    monkeypatch.setattr(ars, "catalogue", lambda: {row.name: row for row in (relative, spec)})
    learner = search(spec, folder / "Follow")
    assert bool(learner.weights.any()) == helps and learner.updates == learner.steps == 0
    if helps:
        assert mean_return(spec, learner.reference()) > -5
        assert mean_return(spec, updated(learner, 10).reference()) > -5


def test_no_bonus_for_being_alive_is_learned_from(tmp_path):
    generous = search(replace(FOLLOW, kwargs={"alive": 100.0}), tmp_path)
    assert generous._play(generous.weights, 3) == pytest.approx(search(FOLLOW, tmp_path)._play(generous.weights, 3))


@pytest.mark.parametrize("damage", ["cut", "no weights", "nan", "of other spaces", "before the start"])
def test_a_damaged_state_is_named(tmp_path, damage):
    updated(search(FOLLOW, tmp_path), 1).close()
    path = tmp_path / SEARCH
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        parts = load_file(path)
        parts |= {
            "no weights": {},
            "nan": {"weights": np.full_like(parts["weights"], np.nan)},
            "of other spaces": {"weights": np.zeros((1, 3))},
            "before the start": {"progress": np.array([-1, 0])},
        }[damage]
        if damage == "no weights":
            del parts["weights"]
        save_file(parts, path)
    with pytest.raises(CheckpointError, match=r"ars.safetensors is damaged .*remove it, and the training begins anew"):
        search(FOLLOW, tmp_path)


@pytest.mark.parametrize(
    ("observation", "action", "names"),
    [
        (spaces.Box(-1, 1, (400,)), spaces.Box(-1, 1, (2,)), ["ars", "tqc", "ppo", "sac"]),
        (spaces.Box(-1, 1, (401,)), spaces.Box(-1, 1, (2,)), ["tqc", "ppo", "sac"]),
        (spaces.Box(-1, 1, (4,)), spaces.Discrete(2), ["ppo", "ars"]),
        (spaces.Box(0, 255, (84, 84, 3), np.uint8), spaces.Discrete(2), ["ppo"]),
    ],
)
def test_few_numbers_are_searched(observation, action, names):
    adapter = Adapter(observation, action)
    assert [configuration["algorithm"] for configuration in configurations(adapter, {})] == names
    if "ars" not in names:
        with pytest.raises(UnsupportedSpaceError, match="choose one of"):
            configurations(adapter, {"algorithm": "ars"})
