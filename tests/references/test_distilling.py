"""Planning in a copy of MuJoCo's state, and networks that are distilled from planners."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import assume, given
from hypothesis import strategies as st

from ldm_hf.environments import get_spec, make
from ldm_hf.errors import LDMError, UnsupportedSpaceError
from ldm_hf.references import finding, load_reference
from ldm_hf.references.finding import find_reference
from ldm_hf.references.learned.distilling import teacher_of
from ldm_hf.references.learned.spaces import Adapter
from ldm_hf.references.learned.training import train_reference
from ldm_hf.references.sampling import PredictiveSampling, simulator
from ldm_hf.rollouts import ReferencePolicy, rollout
from ldm_hf.spaces import flatten

from ..strategies import nested, primitives

FEW = {"horizon": 10, "knots": 3, "samples": 6}


@pytest.mark.parametrize("name", ["InvertedPendulum-v5", "dm-cartpole-balance-v0"])
def test_plans_hold_a_pole_and_leave_the_environment_alone(name):
    env, policy = make(name), PredictiveSampling(make(name), **FEW)
    observation, info = env.reset(seed=1)
    policy.reset(env)
    total, data = 0.0, simulator(env)[1]
    for _ in range(30):
        before = data.qpos.copy(), data.qvel.copy(), data.time
        action = policy.act(env, observation, info)
        assert np.array_equal(before[0], data.qpos) and np.array_equal(before[1], data.qvel) and before[2] == data.time
        observation, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
        assert env.action_space.contains(action) and not terminated and not truncated
    assert total > 25
    env.close()


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_without_a_simulator_to_copy_there_is_one_message(name):
    with pytest.raises(LDMError, match=r"in a copy of MuJoCo's state.*choose another policy"):
        PredictiveSampling(make(name))


def test_plans_of_no_length_are_refused():
    with pytest.raises(LDMError, match="horizon=1"):
        PredictiveSampling(make("InvertedPendulum-v5"), horizon=1)


@given(nested(primitives(with_images=False)), st.integers(0, 2**31 - 1))
def test_labels_are_what_a_network_would_have_to_give(space, seed):
    try:
        adapter = Adapter(spaces.Box(-1, 1, (2,)), space)
    except UnsupportedSpaceError:
        assume(False)
    space.seed(seed)
    action = space.sample()
    chosen = adapter.chosen(action)
    assert adapter.action_space.contains(chosen)
    again, once = flatten(space, adapter.action(chosen)), flatten(space, action)
    assert all(np.allclose(again[path], once[path]) for path in once)


def test_a_planner_is_distilled_into_a_network_that_acts_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "candidates", lambda spec, env: ["rl"])
    monkeypatch.setattr(finding, "SHORTEST_TRAINING", 0.0)
    monkeypatch.setattr(finding, "EPISODES", 5)
    spec = replace(get_spec("InvertedPendulum-v5"), reference=None, max_episode_steps=200)
    record = find_reference(spec, tmp_path, budget=12, learning={"algorithm": "distilled", "target": 190})
    (distilled,) = record.attempts
    assert distilled.method == "distilled" and distilled.training["algorithm"] == "DISTILLED"
    assert distilled.score["mean"] > 100 > record.random["mean"] and record.best is distilled
    policy = load_reference(spec, tmp_path)
    returns = rollout(lambda: make(spec), ReferencePolicy(lambda: policy), 3, 5, num_envs=1)
    assert returns.mean() > 100


def test_a_world_without_a_planner_cannot_be_distilled(tmp_path):
    spec = replace(get_spec("CartPole-v1"), reference=None)
    with pytest.raises(LDMError, match="choose another policy"):
        train_reference(spec, tmp_path, budget=5, learning={"algorithm": "distilled"})


def test_a_planner_cannot_look_into_another_process():
    with pytest.raises(LDMError, match="jumanji runs in a process of its own"):
        teacher_of(get_spec("jumanji-Snake-v1"), make("CartPole-v1"))
