"""Histories in endless worlds: by their number alone, bad at first, labelled by the optimum."""

import numpy as np
import pytest

from ldm_hf.collection.endless import EndlessWorlds, endless_worlds
from ldm_hf.environments import get_spec, make
from ldm_hf.environments.specs import endless
from ldm_hf.references import load_reference
from ldm_hf.spaces import leaves, unflatten

SEGMENT = 96


def same(first, second):
    return all(np.array_equal(first[role], second[role]) for role in ("reward", "terminated", "truncated")) and all(
        np.array_equal(values, second[role][path])
        for role in ("observation", "action", "label")
        for path, values in first[role].items()
    )


@pytest.mark.parametrize("name", sorted(endless()))
def test_a_history_follows_from_its_number(name):
    worlds, again = (EndlessWorlds(endless()[name], SEGMENT) for _ in range(2))
    histories = [worlds.history(number * SEGMENT) for number in (7, 8, 2**32)]
    for number, history in zip((7, 8, 2**32), histories, strict=True):
        repeated = again.history(number * SEGMENT + 5)  # any of its steps
        assert same(history.steps, repeated.steps) and history.observation_space == repeated.observation_space
        assert len(history.steps["reward"]) == SEGMENT
    assert not same(histories[0].steps, histories[1].steps) and not same(histories[0].steps, histories[2].steps)


def step(space, parts, index):
    return unflatten(space, {path: values[index] for path, values in parts.items()})


@pytest.mark.parametrize("name", ["RandomWorlds-mdp", "RandomWorlds-linear", "RandomWorlds-keys"])
def test_a_history_is_what_its_world_gives(name):
    """The environment of the number, with the actions of the history, gives its observations, rewards and labels."""
    number = 12
    history = EndlessWorlds(endless()[name], SEGMENT).history(number * SEGMENT)
    steps, spec = history.steps, get_spec(f"{name}-{number}")
    env, reference = make(spec), load_reference(spec, "none")
    seed = int(np.random.default_rng((number, *name.encode())).integers(2**31))
    over = True
    for index in range(SEGMENT):
        if over:
            (observation, info), seed = env.reset(seed=seed), seed + 1
            reference.reset(env)
        seen, label, action = (
            step(space, steps[role], index)
            for role, space in (
                ("observation", env.observation_space),
                ("label", env.action_space),
                ("action", env.action_space),
            )
        )
        assert np.array_equal(observation, seen)
        assert np.array_equal(reference.act(env, observation, info), label)
        observation, reward, terminated, truncated, info = env.step(action)
        reference.executed(action)
        over = terminated or truncated
        assert steps["reward"][index] == np.float32(reward)
        assert (steps["terminated"][index], steps["truncated"][index]) == (terminated, truncated)


def test_behaviour_is_bad_at_first_and_gets_better():
    worlds = EndlessWorlds(endless()["RandomWorlds-bandit"], 400)
    agreement = np.zeros(2)
    for number in range(12):
        steps = worlds.history(number * 400).steps
        ends = np.flatnonzero(steps["truncated"]) + 1
        alike = steps["action"][""] == steps["label"][""]
        agreement += alike[: ends[0]].mean(), alike[ends[0] : ends[1]].mean()
    assert agreement[0] / 12 < 0.45 and agreement[1] > agreement[0] + 2


def test_no_two_worlds_are_alike():
    worlds = endless_worlds(16)
    assert worlds.keys() == endless().keys() and all(
        stream.info.domain == "random worlds" for stream in worlds.values()
    )
    spaces = [worlds["RandomWorlds-queue"].history(number * 16).observation_space for number in range(12)]
    assert len({str([leaf.space for leaf in leaves(space)]) for space in spaces}) > 4
