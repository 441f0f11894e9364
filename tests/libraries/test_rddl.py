"""Problems in RDDL: how actions are told, and that the planner looks ahead in them."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.environments import make
from ldm_hf.libraries.pyrddlgym.policies import RDDLPlanner
from ldm_hf.utils.parallel import run_tasks

ONE_OF_MANY, SEVERAL, REAL = "rddl-SysAdmin-MDP-ippc2011-1", "rddl-Logistics-rddlsim", "rddl-MarsRover-ippc2023-0"
FEW = "rddl-Tetris-arcade"  # two of five, whose model is compiled in a third of the time
QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


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


# --- the planner, in processes of its own: JAX has threads, and other tests fork --------------------------------------


def played(name: str, depth: int, foreign: int | None = None, steps: int = 1000) -> tuple[list[np.ndarray], float]:
    """Planned settings and the return of an episode; ``foreign`` is a step of a random action."""
    env = make(name)
    planner, (observation, info) = RDDLPlanner(env, depth), env.reset(seed=1)
    planner.reset(env)
    env.action_space.seed(1)
    planned, total = [], 0.0
    for step in range(steps):
        action = planner.act(env, observation, info)
        assert env.action_space.contains(action)
        planned.append(env.unwrapped.settings(action))
        observation, reward, terminated, truncated, info = env.step(
            env.action_space.sample() if step == foreign else action
        )
        total += reward
        if terminated or truncated:
            break
    return planned, total


def played_again(name: str, depth: int, times: int, *others: int) -> list[tuple[list[np.ndarray], float]]:
    """So many times the same, by a planner made anew each time."""
    return [played(name, depth, *others) for _ in range(times)]


@pytest.mark.slow
def test_the_planner(monkeypatch):
    """It repeats itself, also after foreign actions; the robot arrives, where random actions lose some 220 (each step
    costs the distance); a tour that breaks the rules of the salesman ends at once, costs nothing and is no solution."""
    pytest.importorskip("pyRDDLGym_jax")
    monkeypatch.setenv("XLA_FLAGS", QUICKLY)  # compiling takes longer than all steps
    assert 1 < world(FEW).allowed < len(world(FEW).defaults)
    several = {name: (name, 5, 2, 1, 8) for name in (ONE_OF_MANY, FEW, REAL)}
    once = {"navigation": ("rddl-Navigation-Continuous", 10, 1), "salesman": ("rddl-TSP-or", 10, 1)}
    found = dict(run_tasks(played_again, several | once, jobs=2))
    for name in several:
        first, second = found[name]
        np.testing.assert_array_equal(first[0], second[0])
    assert found["navigation"][0][1] > -100
    assert found["salesman"][0][1] < 0
