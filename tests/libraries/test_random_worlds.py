"""Endless worlds: outside of the catalogue, the same by their seed, with references that nothing beats."""

import itertools

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from ldm_hf.environments import catalogue, get_spec, make
from ldm_hf.environments.specs import endless, family_of, select
from ldm_hf.errors import UnknownEnvironmentError
from ldm_hf.libraries.random_worlds.environment import RandomLinearEnv, RandomTableEnv
from ldm_hf.libraries.random_worlds.policies import LinearRegulator, TableOptimum
from ldm_hf.libraries.random_worlds.tables import KINDS
from ldm_hf.references import load_reference
from ldm_hf.rollouts import RandomPolicy, ReferencePolicy, rollout
from ldm_hf.rollouts.watching import wrong_member
from ldm_hf.spaces import leaves

from ..environments.test_environments import play, same


def returns(spec, policy, episodes=16):
    return rollout(lambda: make(spec), policy, episodes, 1000, name=spec.name)


def test_they_are_outside_of_the_catalogue():
    assert len(endless()) >= 8 and not endless().keys() & catalogue().keys()
    row = get_spec("RandomWorlds-maze-12")
    assert row.kwargs == {"kind": "maze", "seed": 12} and row.library == "random-worlds" and row.version
    assert row.family == family_of(row.name) == "RandomWorlds-maze" and row.name not in catalogue()
    assert [row.name for row in select(["RandomWorlds-mdp-0,RandomWorlds-mdp-1"])][1] == "RandomWorlds-mdp-1"
    for name in ("RandomWorlds-maze", "RandomWorlds-maze-007", "RandomWorlds-maze--1", "RandomWorlds-nothing-3"):
        with pytest.raises(UnknownEnvironmentError):
            get_spec(name)


@pytest.mark.parametrize("name", sorted(endless()))
def test_worlds_keep_the_contract_of_gymnasium(name):
    for seed in range(4):
        check_env(make(f"{name}-{seed}").unwrapped, skip_render_check=True)
    first, again, other = (play(make(f"{name}-{seed}"), 0, 30) for seed in (1, 1, 2))
    assert same(first, again) and not same(first, other)


def test_spaces_are_drawn_too():
    kinds = {type(make(f"RandomWorlds-mdp-{seed}").observation_space) for seed in range(20)}
    assert kinds == {spaces.Discrete, spaces.MultiDiscrete, spaces.Box, spaces.Text}
    assert len({make(f"RandomWorlds-mdp-{seed}").action_space.n for seed in range(20)}) >= 4


@pytest.mark.parametrize("name", sorted(endless()))
def test_references_beat_random_actions(name):
    """In the sum over some worlds: in single ones, all actions may be alike."""
    better = []
    for seed in range(4):
        spec = get_spec(f"{name}-{seed}")
        reference = ReferencePolicy(lambda row=spec: load_reference(row, "none"))
        found, chance = returns(spec, reference), returns(spec, RandomPolicy())
        better.append((found.mean() - chance.mean()) / (found.std() + chance.std() + 1e-9))
    assert np.mean(better) > 0.2 and min(better) > -0.3


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_tables_are_probabilities_and_what_is_seen_is_a_member(kind):
    for seed in range(8):
        env = RandomTableEnv(kind, seed)
        tables = env.tables
        states = len(tables.start)
        assert np.allclose(tables.chance.sum(-1), 1) and np.isclose(tables.start.sum(), 1)
        assert tables.following.min() >= 0 and tables.following.max() < states == np.prod(tables.sizes)
        assert tables.chance.shape == tables.following.shape == tables.reward.shape
        if tables.seen is not None:
            assert np.allclose(tables.seen.sum(1), 1)
        (leaf,) = leaves(env.observation_space)
        assert wrong_member(leaf, [env.looks(state) for state in range(states)]) is None


def test_value_iteration_is_as_good_as_the_best_plan():
    """Of a world of four states without chance, against all plans of eight steps."""
    env = RandomTableEnv("mdp", 0)
    tables = env.tables
    tables.chance = np.eye(tables.chance.shape[-1])[np.zeros(tables.chance.shape[:2], int)]
    policy, discount = TableOptimum(env, 0.5), 0.5

    def value(state, plan):
        total = 0.0
        for step, action in enumerate(plan):
            total += discount**step * tables.reward[action, state, 0]
            state = tables.following[action, state, 0]
        return total

    best = max(value(0, plan) for plan in itertools.product(range(len(tables.following)), repeat=8))
    assert policy.values[:, 0].max() == pytest.approx(best, abs=0.5**8 * 2 * np.abs(tables.reward).max())


@pytest.mark.parametrize("kind", ["maze", "keys"])
def test_every_maze_has_a_way_which_the_reference_takes(kind):
    for seed in range(10):
        env = RandomTableEnv(kind, seed)
        env.tables.chance = np.broadcast_to([1.0, 0.0], env.tables.chance.shape)  # never slips
        policy = TableOptimum(env)
        observation, info = env.reset(seed=seed)
        ended = cut = False
        while not (ended or cut):
            observation, reward, ended, cut, info = env.step(policy.act(env, observation, info))
        assert ended and reward == 1.0


def test_the_belief_is_bayes_rule():
    env = RandomTableEnv("pomdp", 3)
    policy, rng = TableOptimum(env), np.random.default_rng(0)
    hits, expected = [], []
    for episode in range(60):
        observation, info = env.reset(seed=episode)
        policy.reset(env)
        for _ in range(12):
            policy.act(env, observation, info)
            hits.append(env.state == policy.belief.argmax())
            expected.append(policy.belief.max())
            action = int(rng.integers(env.action_space.n))
            policy.executed(action)
            observation, *_, info = env.step(action)
    assert np.mean(hits) == pytest.approx(np.mean(expected), abs=0.06)


def test_the_regulator_cannot_be_improved_by_its_neighbours():
    env = RandomLinearEnv(0)
    policy = LinearRegulator(env)
    start = np.random.default_rng(0).normal(size=(50, len(env.drift)))

    def cost(gain):
        state, total = start.T, 0.0
        for _ in range(300):
            pushed = -gain @ state
            total += (state * (env.cost @ state)).sum() + (pushed * (env.effort @ pushed)).sum()
            state = env.drift @ state + env.push @ pushed
        return total

    rng = np.random.default_rng(1)
    assert all(cost(policy.gain) <= cost(policy.gain + 0.05 * rng.normal(size=policy.gain.shape)) for _ in range(10))
