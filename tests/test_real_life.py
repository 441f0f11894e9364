"""Sizes and magnitudes that environments really have: training loss and roll-out stay defined, actions stay in their space."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_hf import LDMAgent
from ldm_hf.processing_ldm import EnvironmentLayout
from ldm_hf.spaces import flatten, unflatten

from .conftest import random_steps

UNBOUNDED = {"low": -np.inf, "high": np.inf}
CHOICE = spaces.Discrete(3)


def scaled(scale, dtype=np.float64):
    return lambda rng, count: (scale * rng.normal(size=(count, 2))).astype(dtype)


OBSERVATIONS = {
    "a million": (spaces.Box(**UNBOUNDED, shape=(2,), dtype=np.float64), scaled(1e6)),
    "a millionth": (spaces.Box(**UNBOUNDED, shape=(2,), dtype=np.float64), scaled(1e-6)),
    "far from zero": (
        spaces.Box(**UNBOUNDED, shape=(2,), dtype=np.float64),
        lambda rng, n: 1e9 + rng.normal(size=(n, 2)),
    ),
    "integers over 2^31": (spaces.Box(0, 2**40, (2,), np.int64), lambda rng, n: rng.integers(2**31, 2**40, (n, 2))),
    "constant": (spaces.Box(**UNBOUNDED, shape=(2,)), lambda rng, n: np.full((n, 2), 7.3, np.float32)),
    "one scalar": (spaces.Box(-1, 1, ()), None),
    "5,000 scalars": (spaces.Box(-1, 1, (5000,)), None),
    "nothing": (spaces.Dict({}), None),
    "one choice": (spaces.Discrete(1), None),
    "10,000 choices": (spaces.Discrete(10_000), None),
    "200 small choices": (spaces.MultiDiscrete([3] * 200), None),
}
ACTIONS = {
    "one choice": spaces.Discrete(1),
    "10,000 choices": spaces.Discrete(10_000),
    "start at 1": spaces.Discrete(3, start=1),
    "200 entries": spaces.MultiDiscrete([2, 3, 4, 5] * 50),
    "matrix": spaces.Box(-1, 1, (2, 3)),
    "nothing": spaces.Dict({}),
    "point": spaces.Box(0.5, 0.5, (1,)),
}


def check(model, processor, observation_space, action_space, change=lambda steps: None):
    """Trains on and acts after steps of these spaces."""
    steps = random_steps(observation_space, action_space, 12)
    change(steps)
    layout = EnvironmentLayout(processor, observation_space, action_space)
    encoded = layout.encode_segment(steps, known_statistics=False)
    if encoded.observation.numeric.size:
        assert np.isfinite(encoded.observation.numeric).all()
        assert (
            np.abs(encoded.observation.numeric).max() <= 10 * 5000 / 16
        )  # ten deviations, times how many share a column
    output = model(**processor([encoded]))
    assert output.loss.isfinite() or not len(layout.actions.sizes)
    agent = LDMAgent(model, processor, (observation_space, action_space))
    feedback = (None, None, None)
    for step in range(6):
        parts = {path: values[step] for path, values in steps["observation"].items()}
        action = agent.act(unflatten(observation_space, parts), *feedback)
        assert action_space.contains(action)
        feedback = (steps["reward"][step], steps["terminated"][step], steps["truncated"][step])
    return encoded


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations(model, processor, name):
    space, values = OBSERVATIONS[name]

    def change(steps):
        if values is not None:
            steps["observation"][""] = values(np.random.default_rng(0), 12)

    encoded = check(model, processor, space, CHOICE, change)
    if name in ("a million", "a millionth", "far from zero", "integers over 2^31"):
        assert encoded.observation.numeric[6:].std() > 0.3  # magnitudes do not hide what varies
    if name == "constant":
        assert not encoded.observation.numeric.any()


@pytest.mark.parametrize("name", ACTIONS)
def test_actions(model, processor, name):
    check(model, processor, spaces.Box(-1, 1, (2,)), ACTIONS[name])


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e9])
def test_rewards(model, processor, scale):
    def change(steps):
        steps["reward"] = scale * np.sign(steps["reward"]).astype(np.float64)

    feedback = check(model, processor, spaces.Box(-1, 1, (2,)), CHOICE, change).feedback
    assert np.isfinite(feedback).all() and np.abs(feedback).max() <= 3


def test_episodes_of_one_step(model, processor):
    def change(steps):
        steps["terminated"][:] = True

    check(model, processor, spaces.Box(-1, 1, (2,)), CHOICE, change)


@torch.no_grad()
def test_the_order_of_dict_keys_does_not_matter(model, processor):
    parts = {"b": spaces.Discrete(4), "a": spaces.Box(-1, 1, (2,))}
    steps = random_steps(spaces.Dict(parts), CHOICE, 9)
    logits = []
    for order in (["a", "b"], ["b", "a"]):
        space = spaces.Dict([(name, parts[name]) for name in order])
        assert set(flatten(space, space.sample())) == set(steps["observation"])
        encoded = EnvironmentLayout(processor, space, CHOICE).encode_segment(steps, known_statistics=False)
        logits.append(model(**processor([encoded])).logits)
    assert torch.equal(*logits)
