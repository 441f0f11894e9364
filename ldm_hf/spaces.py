"""Gymnasium spaces as data: walk them leaf by leaf, save them as JSON, say how two of them differ.

A *leaf* is one primitive space (Box, Discrete, MultiDiscrete, MultiBinary, Text) inside a possibly nested one.
Leaves are listed depth-first with the keys of a Dict sorted, so that the order in which a Dict was written does
not matter. The path of a leaf joins keys and Tuple indices with dots (``"arm.image"``, ``"0"``); the path of a
space that is itself a leaf is ``""``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import gymnasium
import numpy as np
from gymnasium import spaces

from .errors import NotAMemberError, SpaceMismatchError, UnsupportedSpaceError, short

Space = gymnasium.Space[Any]
"""Any Gymnasium space."""
Member = Any
"""A member of a space, or a batch of members as a vector environment lays it out: its type depends on the space."""
Observation = Member
"""A member of an observation space, or a batch of members."""
Action = Member
"""A member of an action space, or a batch of members."""
Info = dict[str, Any]
"""What an environment returns beside its observations."""
Arrays = dict[str, np.ndarray]
"""Values by the path of their leaf, ``{path: (N, *shape)}``; N is time, lanes or episodes."""
Json = Any
"""A value that JSON can hold: None, bool, number, string, list or object."""
Statistics = dict[str, Json]
"""Moments of data, JSON or arrays: ``{"observation": {path: {"mean", "std"}}, "reward": {"mean", "std"}}``."""
SpaceJson = dict[str, Json]
"""A space as JSON, see `space_to_json`."""


class Steps(TypedDict):
    """Consecutive steps of a stream.

    Attributes:
        observation: observations before each action, ``{path: (T, *shape)}``.
        action: executed actions, ``{path: (T, *shape)}``.
        label: what the reference policy would have done, ``{path: (T, *shape)}``.
        reward: rewards for the actions, ``(T,)`` float32.
        terminated: termination flags after the actions, ``(T,)`` bool.
        truncated: truncation flags after the actions, ``(T,)`` bool.
    """

    observation: Arrays
    action: Arrays
    label: Arrays
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


MAX_ENTRIES = 2**26  # of a leaf: a MultiBinary of a few bytes can ask for any amount of memory
# Of spaces that are read from a file: bytes of a member (a picture of 4,000 x 2,000 pixels in float32 takes three
# quarters of it), nested spaces, axes of a leaf.
LARGEST, DEPTH, AXES = 2**27, 32, 16
PRIMITIVES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Text)


@dataclass(frozen=True)
class Leaf:
    """One primitive space and the path that leads to it."""

    path: str
    space: Space


def _escape(key: object) -> str:
    """Escapes a key, so that a dot inside it does not look like the next step of the path."""
    return str(key).replace("%", "%25").replace(".", "%2E")


def children(space: Space, path: str) -> list[tuple[Any, str, Space]]:
    """The parts of a Dict (keys sorted) or Tuple at ``path``, as (key, path, space) each."""
    before = f"{path}." if path else ""
    if isinstance(space, spaces.Dict):
        return [(key, before + _escape(key), space.spaces[key]) for key in sorted(space.spaces, key=str)]
    assert isinstance(space, spaces.Tuple)
    return [(index, f"{before}{index}", child) for index, child in enumerate(space.spaces)]


def _walk(space: Space, path: str) -> Iterator[Leaf]:
    if isinstance(space, PRIMITIVES):
        if math.prod(space.shape or ()) > MAX_ENTRIES:
            raise UnsupportedSpaceError(
                f"{type(space).__name__} at leaf '{path or '(root)'}' has {math.prod(space.shape or ()):,} entries, "
                f"more than {MAX_ENTRIES:,}; make it smaller by a wrapper."
            )
        yield Leaf(path, space)
    elif isinstance(space, spaces.Dict | spaces.Tuple):
        for _, below, child in children(space, path):
            yield from _walk(child, below)
    else:
        place = f"{_origin(space)} at leaf '{path or '(root)'}'"
        if any(_origin(kind).startswith("gym.") for kind in type(space).__mro__):
            raise UnsupportedSpaceError(
                f"{place} is a space of the old gym package. shimmy.GymV26CompatibilityV0(env=env), or "
                "GymV21CompatibilityV0 for step with four values, makes a Gymnasium environment of the old one."
            )
        raise UnsupportedSpaceError(
            f"{place} is not supported. Supported: Gymnasium's Box, Discrete, MultiDiscrete, MultiBinary, Text, and "
            "Dict / Tuple of them. Wrap the environment (gymnasium.ObservationWrapper / ActionWrapper) so that this "
            "leaf has one of these spaces."
        )


def _origin(value: object) -> str:
    """The library and name of a class, or of a value's class."""
    kind = value if isinstance(value, type) else type(value)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library == "builtins" else f"{library}.{kind.__name__}"


def leaves(space: Space) -> list[Leaf]:
    """Lists the primitive spaces of ``space``, depth-first.

    Raises:
        UnsupportedSpaceError: for Sequence, Graph, OneOf and other spaces, and where two leaves have the same path;
            names the leaf.
    """
    found = list(_walk(space, ""))
    seen: set[str] = set()
    for leaf in found:
        if leaf.path in seen:
            raise UnsupportedSpaceError(_COLLISION.format(leaf.path or "(root)"))
        seen.add(leaf.path)
    return found


_COLLISION = (
    "two leaves have the path '{}', by an empty key or by keys such as 1 and '1' in a Dict; rename one of these keys."
)


def flatten(space: Space, value: Member, path: str = "") -> dict[str, Member]:
    """Takes a member of ``space``, or a batch of members, apart: ``{path: leaf value}``.

    Raises:
        SpaceMismatchError: if a key of a Dict or an entry of a Tuple is missing.
        UnsupportedSpaceError: if two leaves have the same path.
    """
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return {path: value}
    parts: dict[str, Member] = {}
    for key, below, child in children(space, path):
        try:
            item = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise SpaceMismatchError(
                f"leaf '{below}' is missing: expected a member of {space}, got {value!r:.200}"
            ) from error
        inner = flatten(child, item, below)
        if not parts.keys().isdisjoint(inner):
            raise UnsupportedSpaceError(_COLLISION.format(below or "(root)"))
        parts.update(inner)
    return parts


def unflatten(space: Space, parts: Mapping[str, Member], path: str = "") -> Member:
    """Puts together again what `flatten` took apart."""
    if isinstance(space, spaces.Dict):
        built = {key: unflatten(child, parts, below) for key, below, child in children(space, path)}
        return {key: built[key] for key in space.spaces}
    if isinstance(space, spaces.Tuple):
        return tuple(unflatten(child, parts, below) for _, below, child in children(space, path))
    return parts[path]


def leaf_array(space: Space, values: Member) -> np.ndarray:
    """Values of one leaf as an array with its dtype; Text becomes an object array of ``str``."""
    if isinstance(space, spaces.Text):
        return np.asarray(values, dtype=object)
    return np.asarray(values, dtype=space.dtype)


def members_array(leaf: Leaf, values: Sequence[Member]) -> np.ndarray:
    """Values of one leaf, one for each step, as an array ``(N, *shape)`` with its dtype, if only precision is lost.

    Args:
        leaf: the leaf.
        values: ``N`` values, which may be outside its bounds (see `outside`).

    Raises:
        NotAMemberError: if one has another shape, or is of a kind that the dtype cannot hold.
    """
    if isinstance(leaf.space, spaces.Text):
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise NotAMemberError(leaf.path, leaf.space, value, index)
        return leaf_array(leaf.space, values)
    dtype, shape = leaf.space.dtype, tuple(leaf.space.shape or ())
    try:
        array = np.asarray(values)
    except ValueError:  # several shapes
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf" or array.shape[1:] != shape:
        for index, value in enumerate(values):
            single = _plain(value)
            if single is None or single.shape != shape:
                raise NotAMemberError(leaf.path, leaf.space, value, index)
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):  # what becomes infinite is outside the space
        fitted = array.astype(dtype)
    if fitted.dtype.kind != "f":
        wrong = (fitted != array).reshape(len(array), -1).any(axis=1)
        if wrong.any():
            index = int(wrong.argmax())
            raise NotAMemberError(leaf.path, leaf.space, values[index], index)
    return fitted


def _plain(value: object) -> np.ndarray | None:
    """A value as an array of numbers or truth values; None if it is something else."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" else None


def holds_all(space: Space) -> bool:
    """Whether a leaf has no value but members: its bounds are those of its integer type."""
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.integer):
        return False
    limits = np.iinfo(np.dtype(space.dtype))
    return bool((space.low == limits.min).all() and (space.high == limits.max).all())


def stack(space: Space, values: Sequence[Member]) -> Arrays:
    """Stacks single members: ``{path: (N, *leaf shape)}``."""
    rows = [flatten(space, value) for value in values]
    return {leaf.path: leaf_array(leaf.space, [row[leaf.path] for row in rows]) for leaf in leaves(space)}


def unstack(space: Space, batch: Member, count: int) -> list[Member]:
    """Splits a batch, laid out as Gymnasium's vector environments do, into its ``count`` members."""
    parts = flatten(space, batch)
    return [unflatten(space, {path: values[row] for path, values in parts.items()}) for row in range(count)]


def is_batch(space: Space, value: Member) -> bool:
    """Whether this is a batch of members of a space, rather than one."""
    parts = leaves(space)
    if not parts or space.contains(value):
        return False
    shapes = [() if isinstance(leaf.space, spaces.Text) else leaf.space.shape or () for leaf in parts]
    return all(
        np.ndim(part) == len(shape) + 1 for part, shape in zip(flatten(space, value).values(), shapes, strict=True)
    )


# --- JSON ---


def _number_to_json(value: np.bool_ | np.number | float) -> int | float | str:
    """A NumPy scalar as JSON; infinities as strings, since JSON has none."""
    if isinstance(value, np.bool_ | bool | np.integer | int):
        return int(value)
    number = float(value)
    return number if np.isfinite(number) else repr(number)


def _array_to_json(array: np.ndarray) -> Json:
    """An array as nested lists, or as one number where all entries are equal."""
    if array.size and (array == array.flat[0]).all():
        return _number_to_json(array.flat[0])
    return [_array_to_json(row) if np.ndim(row) else _number_to_json(row) for row in array]


def _array_from_json(data: Json, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Inverse of `_array_to_json`. Integers stay exact (they never pass through float)."""
    if isinstance(data, list):
        if len(data) != shape[0]:
            raise ValueError(f"{len(data)} entries for an axis of {shape[0]}")
        if data and set(map(type, data)) <= {int, float}:  # at once: there may be a million
            column = np.array(data, dtype).reshape(-1, *(1 for _ in shape[1:]))
            return np.broadcast_to(column, shape).copy()
        rows = [_array_from_json(row, shape[1:], dtype) for row in data]
        return np.stack(rows) if rows else np.zeros(shape, dtype)
    return np.full(shape, float(data) if isinstance(data, str) else data, dtype)


def space_to_json(space: Space) -> SpaceJson:
    """A space as plain JSON values; `space_from_json` is its inverse.

    Raises:
        UnsupportedSpaceError: for a leaf that is not supported.
    """
    leaves(space)  # names the unsupported leaf by its whole path
    kind = {"type": next(cls.__name__ for cls in (*PRIMITIVES, spaces.Dict, spaces.Tuple) if isinstance(space, cls))}
    if isinstance(space, spaces.Dict):
        return kind | {"spaces": [[key, space_to_json(child)] for key, child in space.spaces.items()]}
    if isinstance(space, spaces.Tuple):
        return kind | {"spaces": [space_to_json(child) for child in space.spaces]}
    if isinstance(space, spaces.Text):
        return kind | {
            "min_length": space.min_length,
            "max_length": space.max_length,
            "charset": "".join(sorted(space.character_set)),
        }
    assert space.dtype is not None
    kind["dtype"] = space.dtype.name
    if isinstance(space, spaces.Box):
        return kind | {
            "shape": list(space.shape),
            "low": _array_to_json(space.low),
            "high": _array_to_json(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return kind | {"n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return kind | {
            "shape": list(space.shape),
            "nvec": _array_to_json(space.nvec),
            "start": _array_to_json(space.start),
        }
    assert isinstance(space, spaces.MultiBinary)
    return kind | {"shape": list(space.shape)}


def space_from_json(data: SpaceJson) -> Space:
    """Builds a space from the output of `space_to_json`.

    Raises:
        UnsupportedSpaceError: if ``data`` describes none, or one that is too large; no memory is taken for it.
    """
    try:
        return _Builder().build(data, DEPTH)
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError, OverflowError) as error:
        raise UnsupportedSpaceError(f"no space can be built of {short(data)} ({error!s:.200})") from error


class _Builder:
    """Builds a space, and adds up the bytes of a member before memory is taken."""

    def __init__(self) -> None:
        self._left = LARGEST

    def build(self, data: SpaceJson, depth: int) -> Space:
        """The space of ``data``, which may be nested ``depth`` times."""
        kind = data["type"]
        if kind in ("Dict", "Tuple"):
            if not depth:
                raise ValueError(f"nested more than {DEPTH} times")
            if kind == "Dict":
                return spaces.Dict({key: self.build(child, depth - 1) for key, child in data["spaces"]})
            return spaces.Tuple(tuple(self.build(child, depth - 1) for child in data["spaces"]))
        if kind == "Text":
            longest, shortest = self._shape([data["max_length"], data["min_length"]])
            self._take([longest], 4)
            return spaces.Text(max_length=longest, min_length=shortest, charset=frozenset("".join(data["charset"])))
        dtype = np.dtype(data.get("dtype", "int64"))
        if dtype.kind not in "biuf":
            raise ValueError(f"numbers of type {dtype!s:.100}")
        if kind == "Discrete":
            # Gymnasium 1.2 knows int64 only
            other: dict[str, Any] = {} if dtype == np.int64 else {"dtype": dtype.type}
            count, start = data["n"], data["start"]
            if type(count) is not int or type(start) is not int or not -(2**63) <= start <= start + count <= 2**63:
                raise ValueError(f"{short(count)} choices from {short(start)}")
            return spaces.Discrete(count, start=start, **other)
        if kind not in ("Box", "MultiDiscrete", "MultiBinary"):
            raise UnsupportedSpaceError(
                f"no space of type {short(kind)} can be built; was this file written by a later version of ldm_hf?"
            )
        shape = self._shape(data["shape"])
        self._take(shape, max(dtype.itemsize, 1 if kind == "Box" else 8))
        if kind == "Box":
            low, high = (_array_from_json(data[bound], shape, dtype) for bound in ("low", "high"))
            return spaces.Box(low, high, shape=shape, dtype=dtype.type)
        if kind == "MultiDiscrete":
            nvec, start = (_array_from_json(data[key], shape, np.dtype("int64")) for key in ("nvec", "start"))
            return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=start)
        return spaces.MultiBinary(shape if len(shape) != 1 else shape[0])

    @staticmethod
    def _shape(lengths: Json) -> tuple[int, ...]:
        if not isinstance(lengths, list) or not all(type(length) is int and length >= 0 for length in lengths):
            raise ValueError(f"{short(lengths)} in the place of lengths")
        return tuple(lengths)

    def _take(self, shape: Sequence[int], itemsize: int) -> None:
        """Counts a leaf.

        Raises:
            UnsupportedSpaceError: if the space becomes too large.
        """
        self._left -= math.prod(shape) * itemsize
        if self._left < 0 or len(shape) > AXES:
            raise UnsupportedSpaceError(
                f"a leaf of shape {short(list(shape))} makes the space larger than the {LARGEST:,} bytes (or a leaf of "
                f"more than {AXES} axes) that are read from a file"
            )


# --- differences ---


def _shorten(value: object, limit: int = 60) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def describe_difference(expected: Space, found: Space, path: str = "") -> list[str]:
    """Says in words how two spaces differ, leaf by leaf; an empty list when they are the same."""
    place = path or "(root)"
    first, second = space_to_json(expected), space_to_json(found)
    if first["type"] != second["type"]:
        return [f"{place}: {first['type']} expected, {second['type']} found"]
    if isinstance(expected, spaces.Dict | spaces.Tuple):
        left, right = ({below: child for _, below, child in children(space, path)} for space in (expected, found))
        differences = [f"{below}: expected, not found" for below in left if below not in right]
        differences += [f"{below}: found, not expected" for below in right if below not in left]
        for below in left:
            if below in right:
                differences += describe_difference(left[below], right[below], below)
        return differences
    return [
        f"{place}: {field} {_shorten(first[field])} expected, {_shorten(second[field])} found"
        for field in first
        if first[field] != second[field]
    ]


def check_same(expected: Space, found: Space, what: str) -> None:
    """Checks that two spaces are the same.

    Args:
        expected: the recorded space.
        found: the environment's space.
        what: the environment and which of its spaces this is, for the message.

    Raises:
        SpaceMismatchError: if they differ; lists every difference.
    """
    differences = describe_difference(expected, found)
    if differences:
        raise SpaceMismatchError(f"{what} differs from what was recorded: " + "; ".join(differences))
