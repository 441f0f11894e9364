"""Random Gymnasium spaces for property-based tests."""

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st

FLOATS = (np.float32, np.float64)
INTEGERS = (np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64)


@st.composite
def float_boxes(draw: st.DrawFn) -> spaces.Box:
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=4)))
    kind = draw(st.sampled_from(["bounded", "below", "above", "unbounded", "wide"]))
    low = {"bounded": -2.5, "below": 0.5, "above": -np.inf, "unbounded": -np.inf, "wide": -3e38}[kind]
    high = {"bounded": 7.0, "below": np.inf, "above": 3.0, "unbounded": np.inf, "wide": 3e38}[kind]
    return spaces.Box(low, high, shape, dtype=draw(st.sampled_from(FLOATS)))


@st.composite
def integer_boxes(draw: st.DrawFn) -> spaces.Box:
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    limits = np.iinfo(dtype)
    top = min(limits.max, 2**63 - 2)  # Gymnasium 1.4 cannot sample beyond: it adds 1 to the bound, as an int64
    low = draw(st.integers(limits.min, top))
    high = draw(st.integers(low, min(top, low + draw(st.sampled_from([0, 1, 30, 300, 2**63])))))
    return spaces.Box(low, high, shape, dtype=dtype.type)


@st.composite
def images(draw: st.DrawFn) -> spaces.Box:
    height, width = draw(st.integers(16, 40)), draw(st.integers(16, 40))
    shape = draw(
        st.sampled_from(
            [
                (height, width),
                (height, width, 3),
                (3, height, width),
                (height, width, 1),
                (4, height, width),
                (2, height, width, 3),
            ]
        )
    )
    return spaces.Box(0, 255, shape, dtype=np.uint8)


def multi_discretes() -> st.SearchStrategy[spaces.MultiDiscrete]:
    flat = st.lists(st.integers(1, 150), min_size=1, max_size=5).map(spaces.MultiDiscrete)
    square = st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=2), min_size=2, max_size=3).map(
        lambda n: spaces.MultiDiscrete(np.array(n))
    )
    return flat | square


def texts() -> st.SearchStrategy[spaces.Text]:
    sizes = st.tuples(st.integers(0, 3), st.integers(3, 8))
    return st.builds(
        lambda size, charset: spaces.Text(size[1], min_length=size[0], charset=charset),
        sizes,
        st.sampled_from(["ab", "a", "xyz 09é"]),
    )


def primitives(with_images: bool = True) -> st.SearchStrategy[spaces.Space]:
    discretes = st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 20_000), st.integers(-5, 5))
    binaries = st.sampled_from([spaces.MultiBinary(4), spaces.MultiBinary((2, 3)), spaces.MultiBinary(30)])
    every = [float_boxes(), integer_boxes(), discretes, binaries, multi_discretes(), texts()]
    return st.one_of(*every, images()) if with_images else st.one_of(*every)


def nested(leaves: st.SearchStrategy[spaces.Space]) -> st.SearchStrategy[spaces.Space]:
    names = st.text("abc.%", min_size=1, max_size=3)
    return st.recursive(
        leaves,
        lambda children: (
            st.dictionaries(names, children, min_size=1, max_size=3).map(spaces.Dict)
            | st.lists(children, min_size=1, max_size=3).map(lambda parts: spaces.Tuple(tuple(parts)))
        ),
        max_leaves=4,
    )


observation_spaces = nested(primitives())
action_spaces = nested(primitives(with_images=False))


# --- at the edge of what Gymnasium allows ----------------------------------------------------------------------------


@st.composite
def edge_boxes(draw: st.DrawFn) -> spaces.Box:
    """Boxes that are half open, wide, narrow or without entries, of every dtype."""
    dtype = np.dtype(draw(st.sampled_from([np.float16, *FLOATS, bool, *INTEGERS])))
    shape = draw(
        st.sampled_from([(), (1,), (3,), (2, 2), (5, 5), (2, 5, 5), (18,), (0,), (3, 0), (16, 16, 0), (16, 16)])
    )
    if dtype.kind == "b":
        return spaces.Box(0, 1, shape, dtype=bool)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    lowest, largest = limits.min, limits.max
    if dtype.kind == "f":
        numbers = [lowest, largest, 0.95 * largest, -1.0, 0.0, 1.0, limits.tiny, limits.smallest_subnormal, 1e4, 255.0]
        bounds = [dtype.type(number) for number in numbers] + [dtype.type(-np.inf), dtype.type(np.inf)]
    else:
        bounds = [number for number in (lowest, lowest + 5, 0, 1, 20, 100, largest // 2 + 3, largest - 5, largest)]
    low, high = sorted((draw(st.sampled_from(bounds)), draw(st.sampled_from(bounds))))
    if low == high and not np.isfinite(low):
        low, high = -high, high
    return spaces.Box(min(low, high), max(low, high), shape, dtype=dtype.type)


@st.composite
def edge_choices(draw: st.DrawFn) -> spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary:
    """Choices whose numbers are about the powers of the bases of digits, or fill or exceed their dtype."""
    base, power = draw(st.sampled_from([2, 10, 21, 101])), draw(st.integers(0, 19))
    n = min(max(base**power + draw(st.integers(-1, 2)), 1), 2**63 - 1)
    dtype = draw(st.sampled_from([np.int64, np.int64, np.uint64, np.int8]))
    n = min(n, np.iinfo(dtype).max)
    start = draw(st.sampled_from([0, 0, 1, np.iinfo(dtype).min, np.iinfo(dtype).max - n + 1, np.iinfo(dtype).max]))
    kind = draw(st.sampled_from(["one", "one", "several", "binary"]))
    if kind == "one":
        other = {} if dtype == np.int64 else {"dtype": dtype}
        return spaces.Discrete(n, start=start, **other)
    if kind == "binary":
        return spaces.MultiBinary(draw(st.sampled_from([1, 17, (2, 3), (2**14,), (2**21,), 10**10])))
    shape = draw(st.sampled_from([(0,), (1,), (3,), (17,), (30,), (2, 2), (5, 5)]))
    nvec = np.full(shape, n, dtype)
    return spaces.MultiDiscrete(nvec, dtype=dtype, start=np.full(shape, start, dtype))


@st.composite
def edge_texts(draw: st.DrawFn) -> spaces.Text:
    longest = draw(st.sampled_from([1, 5, 1000, 10**9]))
    shortest = draw(st.sampled_from([0, 1]))
    return spaces.Text(
        longest, min_length=shortest, charset=draw(st.sampled_from(["", "a", "ab\0", "a\ud800", "é\n ."]))
    )


def edge_spaces() -> st.SearchStrategy[spaces.Space]:
    """Anything that Gymnasium lets be made, without regard to whether it can sample from it."""
    names = st.sampled_from(["", "a", "b", ".", "%", "1", 1, 2])
    other = st.sampled_from([spaces.Dict({}), spaces.Tuple(()), spaces.Sequence(spaces.Discrete(2))])
    usual = primitives(with_images=True)
    return st.recursive(
        st.one_of(edge_boxes(), edge_boxes(), edge_choices(), edge_choices(), edge_texts(), usual, other),
        lambda children: (
            st.dictionaries(names, children, max_size=3).map(spaces.Dict)
            | st.lists(children, max_size=3).map(lambda parts: spaces.Tuple(tuple(parts)))
        ),
        max_leaves=4,
    )
