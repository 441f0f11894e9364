"""Spaces as leaves, as JSON, and what differs between two."""

import json

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.errors import SpaceMismatchError, UnsupportedSpaceError
from ldm_hf.spaces import (
    check_same,
    describe_difference,
    flatten,
    leaves,
    space_from_json,
    space_to_json,
    stack,
    unflatten,
)

from ..strategies import observation_spaces


@given(observation_spaces)
def test_a_space_survives_json(space):
    rebuilt = space_from_json(json.loads(json.dumps(space_to_json(space))))
    assert rebuilt == space
    assert describe_difference(space, rebuilt) == []
    assert rebuilt.contains(space.sample())


@given(observation_spaces, st.integers(0, 100))
def test_flatten_and_unflatten_are_inverse(space, seed):
    space.seed(seed)
    sample = space.sample()
    parts = flatten(space, sample)
    assert list(parts) == [leaf.path for leaf in leaves(space)]
    assert space.contains(unflatten(space, parts))


def test_the_order_of_dict_keys_does_not_matter():
    first = spaces.Dict([("b", spaces.Discrete(2)), ("a", spaces.Discrete(3))])
    second = spaces.Dict([("a", spaces.Discrete(3)), ("b", spaces.Discrete(2))])
    assert [leaf.path for leaf in leaves(first)] == [leaf.path for leaf in leaves(second)] == ["a", "b"]
    assert describe_difference(first, second) == []


def test_keys_with_dots_do_not_collide():
    space = spaces.Dict({"a.b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(3)})})
    assert len({leaf.path for leaf in leaves(space)}) == 2


@pytest.mark.parametrize(
    "leaf",
    [spaces.Sequence(spaces.Discrete(2)), spaces.OneOf((spaces.Discrete(2),)), spaces.Graph(spaces.Discrete(2), None)],
)
def test_unsupported_leaves_are_named(leaf):
    with pytest.raises(UnsupportedSpaceError, match=rf"{type(leaf).__name__}.*'arm\.1'"):
        leaves(spaces.Dict({"arm": spaces.Tuple((spaces.Discrete(2), leaf))}))


def test_differences_are_told_leaf_by_leaf():
    expected = spaces.Dict({"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)})
    found = spaces.Dict({"image": spaces.Box(0, 255, (8, 8, 3), np.uint8), "mission": spaces.Discrete(4)})
    text = "; ".join(describe_difference(expected, found))
    assert "image: shape [7, 7, 3] expected, [8, 8, 3] found" in text
    assert "direction: expected, not found" in text and "mission: found, not expected" in text
    with pytest.raises(SpaceMismatchError, match=r"observation space of X differs.*direction"):
        check_same(expected, found, "the observation space of X")


def test_a_missing_part_of_an_observation_is_named():
    with pytest.raises(SpaceMismatchError, match="'b'"):
        flatten(spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(2)}), {"a": 1})


def test_stack_keeps_dtype_and_shape():
    space = spaces.Tuple((spaces.Box(0, 1, (2, 3), np.float64), spaces.Text(4), spaces.Discrete(3)))
    parts = stack(space, [space.sample() for _ in range(5)])
    assert parts["0"].shape == (5, 2, 3) and parts["0"].dtype == np.float64
    assert parts["1"].shape == (5,) and parts["1"].dtype == object
    assert parts["2"].dtype == np.int64
