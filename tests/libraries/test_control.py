"""References of control tasks: how soon and how well they reach what is asked for."""

from __future__ import annotations

import pytest

from ldm_hf.environments import get_spec, make
from ldm_hf.references.loading import policy_of


def played(name, policy, kwargs, seed=7):
    """The rewards of one episode, and the step of the first success (-1 if there is none)."""
    env = make(name)
    reference = policy_of(name, policy)(env, **kwargs)
    observation, info = env.reset(seed=seed)
    reference.reset(env)
    rewards, success, over = [], -1, False
    while not over:
        observation, reward, terminated, truncated, info = env.step(reference.act(env, observation, info))
        rewards.append(float(reward))
        if info.get("success") and success < 0:
            success = len(rewards) - 1
        over = terminated or truncated
    env.close()
    return rewards, success


@pytest.mark.parametrize(
    ("name", "policy", "least"),
    [
        ("MountainCar-v0", "mountain_car_planner", -120),  # pushing along with the motion needs about as many
        ("MountainCarContinuous-v0", "mountain_car_planner", 95),
        ("BipedalWalker-v3", "bipedal_walker", 280),
        ("bsuite-cartpole", "bsuite", 990),
        ("bsuite-cartpole-swingup-0.95-0.05", "bsuite", 250),  # the pole within 18 degrees, the cart within 5 cm
        ("dm-cartpole-swingup-v0", "suite_cartpole", 840),
    ],
)
def test_what_one_episode_reaches(name, policy, least):
    pytest.importorskip({"bsuite": "bsuite", "suite_cartpole": "shimmy"}.get(policy, "gymnasium"))
    rewards, _ = played(name, policy, get_spec(name).reference_kwargs)
    assert sum(rewards) > least


@pytest.mark.parametrize("task", ["pick-out-of-hole", "window-open"])
def test_an_adjusted_script_is_done_sooner_than_the_shipped_one(task):
    pytest.importorskip("metaworld")
    name = f"metaworld-{task}-v3"
    shipped, adjusted = (played(name, "metaworld", kwargs) for kwargs in ({}, get_spec(name).reference_kwargs))
    assert 0 <= adjusted[1] < shipped[1] - 10
    assert sum(adjusted[0][:100]) > 1.2 * sum(shipped[0][:100])


@pytest.mark.parametrize(("name", "least"), [("GEM-Finite-TC-SynRM-v0", 0.5), ("GEM-Cont-CC-SeriesDc-v0", 0.5)])
def test_predictive_control_of_a_drive_leaves_the_drive_as_it_is(name, least):
    pytest.importorskip("gym_electric_motor")
    env, twin, steps = make(name), make(name), 60
    reference = policy_of(name, "drive_predictor")(make(name))
    observation, info = env.reset(seed=3)
    twin.reset(seed=3)
    reference.reset(env)
    rewards, same = [], []
    for _ in range(steps):
        action = reference.act(env, observation, info)
        assert env.action_space.contains(action)
        observation, reward, *_, info = env.step(action)
        same.append(twin.step(action)[1] == reward)  # without a prediction between the steps
        rewards.append(float(reward))
    assert all(same)
    twin.reset(seed=3)
    twin.action_space.seed(0)
    at_random = [float(twin.step(twin.action_space.sample())[1]) for _ in range(steps)]
    assert sum(rewards) > least * sum(at_random)


def test_no_speed_is_predicted():
    pytest.importorskip("gym_electric_motor")
    policy = policy_of("GEM-Finite-TC-SynRM-v0", "drive_predictor")
    assert policy.fits(make("GEM-Finite-TC-SynRM-v0"))
    assert not policy.fits(make("GEM-Finite-SC-SynRM-v0"))
