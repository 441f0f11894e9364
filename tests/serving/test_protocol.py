"""Messages: what is packed is read again, and nothing that is sent makes more than an error."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from ldm_hf.errors import ArgumentError
from ldm_hf.serving.protocol import from_json, pack, to_json, unpack

NUMBERS = nps.boolean_dtypes() | nps.integer_dtypes() | nps.unsigned_integer_dtypes() | nps.floating_dtypes()
ARRAYS = nps.arrays(NUMBERS, nps.array_shapes(min_dims=0, min_side=0))
LEAVES = ARRAYS | st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def assert_equal(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)
    else:
        assert one == other


@given(VALUES)
def test_what_is_packed_is_read_again(value):
    assert_equal(value, unpack(pack(value)))


@given(ARRAYS)
def test_it_is_what_openpi_writes(array):
    """As `openpi_client.msgpack_numpy` does it."""
    theirs = {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}
    assert pack(array) == msgpack.packb(theirs)
    assert_equal(array, unpack(msgpack.packb(theirs)))


@given(st.data())
def test_whatever_is_sent_is_read_or_an_error(data):
    packed = bytearray(pack({"method": "act", "observation": (np.arange(6.0), [np.float32(1), "x"]), "reward": 1.5}))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    for read in (unpack, from_json):
        try:
            read(bytes(packed[: data.draw(st.integers(0, len(packed)))]))
        except ArgumentError as error:
            assert len(str(error)) < 500


def test_objects_are_not_sent():
    for value in (object(), {"a": np.array(1 + 2j)[()]}, {1, 2}):
        with pytest.raises(ArgumentError, match="cannot be sent"):
            pack(value)
    with pytest.raises(ArgumentError, match="cannot be sent as JSON"):
        to_json({"state": b"x"})
