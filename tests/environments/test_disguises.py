"""A disguise is a bijection, the same for stored steps and for the environment itself."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf import LDMAgent
from ldm_hf.environments import Disguise
from ldm_hf.environments.disguises import PairDisguise, SpaceDisguise
from ldm_hf.spaces import leaves, stack, unflatten, unstack

from ..strategies import observation_spaces
from ..toys import ACTION, Fixed, Toy

SEEDS = st.integers(0, 2**32)


def play(env, actions):
    """Observations, rewards and flags of these actions; episodes follow one another."""
    observations, feedback = [env.reset(seed=3)[0]], []
    for action in actions:
        observation, *rest, _ = env.step(action)
        feedback.append(rest)
        observations.append(env.reset()[0] if any(rest[1:]) else observation)
    return observations[:-1], np.array(feedback, float)


@given(observation_spaces, SEEDS, st.booleans())
def test_a_disguise_is_a_bijection(space, seed, action):
    disguise = SpaceDisguise(space, np.random.default_rng(seed), action)
    space.seed(seed)
    plain = stack(space, [space.sample() for _ in range(6)])
    disguised = disguise.apply(plain)
    for member in unstack(disguise.space, unflatten(disguise.space, disguised), 6):
        assert disguise.space.contains(member)
    again = disguise.undo(disguised)
    for leaf in leaves(space):
        before, after = plain[leaf.path], again[leaf.path]
        assert after.dtype == before.dtype and disguised[leaf.path].shape == before.shape
        if before.dtype.kind == "f":
            scale = np.abs(before[np.isfinite(before)]).max(initial=1)
            np.testing.assert_allclose(after / scale, before / scale, atol=1e-6)
        else:
            assert np.array_equal(after, before)


@given(st.integers(2, 40), SEEDS)
def test_choices_are_permuted_alike_in_actions_and_labels(count, seed):
    space = spaces.Discrete(count, start=-3)
    disguise = PairDisguise(spaces.Discrete(3), space, seed, "actions")
    everything = np.arange(-3, count - 3)
    empty = np.zeros(count)
    steps = {"observation": {"": everything % 3}, "action": {"": everything}, "label": {"": everything[::-1]}}
    steps |= {"reward": empty, "terminated": empty > 0, "truncated": empty > 0}
    found = disguise.steps(steps)
    assert sorted(found["action"][""]) == sorted(everything)
    assert np.array_equal(found["label"][""], found["action"][""][::-1])
    assert np.array_equal(found["observation"][""], steps["observation"][""])
    mask = everything == -3
    assert np.array_equal(disguise.actions.mask(mask), everything == found["action"][""][0])


@given(st.integers(1, 6), st.integers(1, 3), SEEDS)
def test_statistics_are_those_of_disguised_data(columns, rows, seed):
    space = spaces.Dict({"x": spaces.Box(-np.inf, np.inf, (rows, columns)), "n": spaces.Discrete(4)})
    values = np.random.default_rng(seed).normal(5, 3, (200, rows, columns)).astype(np.float32)
    disguise = PairDisguise(space, spaces.Discrete(2), seed)
    reward = {"mean": 1.0, "std": 2.0}

    def moments(data):
        flat = data.reshape(200, -1).astype(np.float64)
        return {"observation": {"x": {"mean": flat.mean(0), "std": flat.std(0)}}, "reward": reward}

    found = disguise.statistics(moments(values))
    expected = moments(disguise.observations.apply({"x": values, "n": np.zeros(200, int)})["x"])
    for part in ("mean", "std"):
        np.testing.assert_allclose(found["observation"]["x"][part], expected["observation"]["x"][part], rtol=1e-5)
    assert found["reward"] == reward and disguise.statistics(None) is None


def test_a_channel_of_a_grid_is_permuted_alike_everywhere_and_small_numbers_stay_small():
    space = spaces.Box(0, 255, (7, 7, 3), np.uint8)
    disguise = SpaceDisguise(space, np.random.default_rng(0))
    grids = np.random.default_rng(1).integers(0, 11, (50, 7, 7, 3), dtype=np.uint8)
    found = disguise.apply({"": grids})[""]
    assert found.max() < 16 and not np.array_equal(found, grids)
    for channel in range(3):
        pairs = set(zip(grids[..., channel].ravel().tolist(), found[..., channel].ravel().tolist(), strict=True))
        assert len(pairs) == 11


@pytest.mark.parametrize("roles", ["both", "observations", "actions"])
@pytest.mark.parametrize("name", ["toy", "CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_what_the_wrapper_gives_is_the_disguised_trajectory(name, roles):
    plain, inner = ((Toy(1) if name == "toy" else gymnasium.make(name)) for _ in range(2))
    disguised = Disguise(inner, 7, roles)
    plain.action_space.seed(0)
    actions = [plain.action_space.sample() for _ in range(60)]
    observations, feedback = play(plain, actions)
    found, same = play(disguised, [disguised.disguised_action(action) for action in actions])
    np.testing.assert_allclose(same, feedback, rtol=1e-5)
    stored = disguised.disguise.observations.apply(stack(plain.observation_space, observations))
    for path, values in stack(disguised.observation_space, found).items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, stored[path], rtol=1e-4, atol=1e-5)
        else:
            assert np.array_equal(values, stored[path])


def test_a_disguised_environment_keeps_gymnasiums_contract():
    check_env(Disguise(gymnasium.make("CartPole-v1").unwrapped, 5), skip_render_check=True)


def test_an_agent_does_not_take_it_for_the_environment_that_it_knows(model, processor):
    env = Fixed(spaces.Box(-np.inf, np.inf, (2,)), spaces.Discrete(3))
    env.spec = gymnasium.spec("CartPole-v1")
    moments = {"observation": {"": {"mean": [5.0, 5.0], "std": [1.0, 1.0]}}, "reward": {"mean": 1.0, "std": 1.0}}
    processor.add_environment("CartPole-v1", env.observation_space, env.action_space, moments)
    assert LDMAgent(model, processor, env).known_statistics
    assert not LDMAgent(model, processor, Disguise(env, 1)).known_statistics


def test_seeds_differ_and_repeat():
    env = gymnasium.make("Acrobot-v1")
    first, again, other = (Disguise(env, seed).reset(seed=0)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_legal_actions_are_disguised_or_left_out():
    mask = np.array([1, 0, 0, 1, 1], np.int8)
    env = Disguise(Fixed(info={"action_mask": mask, "more": 1}), 3, "actions")
    info = env.reset()[1]
    legal = [int(env.disguised_action(action)) for action in np.flatnonzero(mask)]
    assert sorted(np.flatnonzero(info["action_mask"])) == sorted(legal) and info["more"] == 1
    assert "action_mask" not in Disguise(Fixed(action_space=ACTION, info={"action_mask": mask}), 3).reset()[1]
