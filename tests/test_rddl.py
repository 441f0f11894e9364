"""Problems in RDDL: how actions are told, and that the planner looks ahead in them."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.collection import record_episode
from ldm_hf.environments import make
from ldm_hf.references.rddl import RDDLPlanner

ONE_OF_MANY, SEVERAL, REAL = "rddl-SysAdmin-MDP-ippc2011-1", "rddl-Logistics-rddlsim", "rddl-MarsRover-ippc2023-0"


@functools.cache
def world(name):
    return make(name).unwrapped


@pytest.mark.parametrize("name", [ONE_OF_MANY, SEVERAL, REAL])
@given(seed=st.integers(0, 2**31))
def test_settings_and_actions_tell_the_same(name, seed):
    env = world(name)
    env.action_space.seed(seed)
    settings = env.settings(env.action_space.sample())
    action = env.action(settings)
    assert env.action_space.contains(action)
    assert np.array_equal(env.settings(action), settings)
    assert np.count_nonzero(settings != env.defaults) <= env.allowed


def test_switches_beyond_the_allowed_number_are_left_alone():
    env = world(SEVERAL)
    everything = {name: np.ones(box.shape, box.dtype) for name, box in env.action_space.spaces.items()}
    assert env.settings(everything).sum() == env.allowed == 3


@pytest.mark.slow  # JAX compiles for ten seconds a problem
@pytest.mark.parametrize("name", [ONE_OF_MANY, SEVERAL, REAL])
def test_plans_follow_from_the_state_also_after_foreign_actions(name):
    pytest.importorskip("pyRDDLGym_jax")

    def planned() -> list:
        env = make(name)
        planner, (observation, info) = RDDLPlanner(env, depth=5), env.reset(seed=1)
        planner.reset(env)
        env.action_space.seed(1)
        actions = []
        for step in range(8):
            actions.append(planner.act(env, observation, info))
            assert env.action_space.contains(actions[-1])
            action = env.action_space.sample() if step == 1 else actions[-1]
            observation, _, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                break
        return [world(name).settings(action) for action in actions]

    np.testing.assert_array_equal(planned(), planned())


@pytest.mark.slow
def test_the_robot_arrives():
    """Each step costs the distance to the goal; random actions lose some 220."""
    pytest.importorskip("pyRDDLGym_jax")
    env = make("rddl-Navigation-Continuous")
    assert sum(record_episode(env, RDDLPlanner(env, depth=10), 1, 0.0)["reward"]) > -100
