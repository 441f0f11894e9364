"""Reference policies of Atari games that search a path to the next reward."""

import pytest

from ldm_hf.environments import get_spec, make
from ldm_hf.libraries.ale_py.policies_paths import AtariSearch
from ldm_hf.references.loading import policy_of

pytest.importorskip("ale_py")


def spec(game, sticky=0.0):
    return get_spec(f"ALE-{game}-v5").changed({"kwargs": {"repeat_action_probability": sticky}})


def played(game, steps, sticky=0.0, **settings):
    """Sum of the rewards of the row's reference, whose settings may be changed, in the first steps of an episode."""
    row = spec(game, sticky)
    env = make(row)
    policy = policy_of(row.name, row.reference)(env, **(row.reference_kwargs | settings))
    observation, info = env.reset(seed=5)
    policy.reset(env)
    total = 0.0
    for _ in range(steps):
        observation, reward, *_, info = env.step(policy.act(env, observation, info))
        total += float(reward)
    return total


def test_private_eye_catches_whoever_looks_out_of_a_window():
    assert played("PrivateEye", 120) == 100


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_a_search_finds_cubes_one_after_the_other(sticky):
    assert played("Qbert", 120, sticky, trials=2000) >= 75


def test_nothing_is_tried_once_the_trials_are_spent():
    row = spec("DoubleDunk")
    env = make(row)
    policy = AtariSearch(env, **(row.reference_kwargs | {"trials": 0, "rest": "UP"}))
    observation, info = env.reset(seed=5)
    policy.reset(env)
    assert env.unwrapped.get_action_meanings()[policy.act(env, observation, info)] == "UP"
    assert not policy.steps


def test_a_search_leaves_the_environment_as_it_is_and_foresees_its_states():
    env = make(spec("Qbert", 0.25))
    observation, info = env.reset(seed=5)
    policy = AtariSearch(env, **(get_spec("ALE-Qbert-v5").reference_kwargs | {"trials": 1500}))
    policy.reset(env)
    before = env.unwrapped.ale.cloneState(include_rng=True)
    action = policy.act(env, observation, info)
    assert before.equals(env.unwrapped.ale.cloneState(include_rng=True))
    while policy.steps:
        env.step(action)
        assert policy.start.equals(env.unwrapped.ale.cloneState(include_rng=True))
        action = policy.steps.pop(0)
        policy.start, action = action.state, action.action
