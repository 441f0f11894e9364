"""Data between parent and worker: observations and actions in shared memory, the rest as JSON. Nothing is pickled.

Light on purpose: the worker imports this module under the interpreter of an isolated library, with another NumPy and
Gymnasium.
"""

from __future__ import annotations

import base64
import json
import math
import mmap
import os
import zlib
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ...errors import SpaceMismatchError
from ...spaces import Arrays, Info, Leaf, flatten, leaves, unflatten

INFO_BYTES = 65_536  # an entry of an info that is longer is left out
ALIGNMENT = 64
ARRAY, TUPLE = "__array__", "__tuple__"

Json = Any
"""A value that JSON can hold, or what `from_json` makes of one."""


# --- shared memory ---------------------------------------------------------------------------------------------------


def _type_of(space: gymnasium.Space[object]) -> tuple[np.dtype, tuple[int, ...]]:
    """dtype and shape of a leaf in shared memory; a text takes as many code points as it may have at most."""
    if isinstance(space, spaces.Text):
        return np.dtype(f"<U{max(1, space.max_length)}"), ()
    assert space.dtype is not None and space.shape is not None
    return space.dtype, space.shape


def _fitted(leaf: Leaf, value: object, lanes: tuple[int, ...] = ()) -> np.ndarray:
    """Converts a value to the leaf's dtype, as long as nothing but precision is lost.

    Raises:
        SpaceMismatchError: if it has another shape, or is of a kind that the dtype cannot hold; names the leaf.
    """
    dtype, shape = _type_of(leaf.space)
    try:
        array = np.asarray(value)
        fitted = array.astype(dtype, copy=False)
        fits = fitted.shape == lanes + shape and (
            np.can_cast(array.dtype, dtype, "same_kind") or bool((fitted == array).all())
        )
        if isinstance(leaf.space, spaces.Text):  # NumPy would convert anything to a text, and cut it off
            fits = fits and array.dtype.kind == "U" and array.dtype.itemsize <= dtype.itemsize
    except (ValueError, TypeError, OverflowError):
        fits = False
    if not fits:
        raise SpaceMismatchError(f"leaf '{leaf.path}': a member of {leaf.space!s:.200} expected, got {value!r:.200}")
    return fitted


class Slots:
    """Fixed places in shared memory for what ``lanes`` environments exchange with the parent.

    Four roles are read and written by name: ``observation``, ``final`` (the last observation of an episode that ended),
    ``action`` and ``label`` (the action of a reference policy).

    Args:
        file: descriptor of a file that both sides map.
        observation_space: observation space of one environment.
        action_space: action space of one environment.
        lanes: number of environments.

    Attributes:
        reward: rewards ``(lanes,)`` float64.
        terminated: flags ``(lanes,)`` bool.
        truncated: flags ``(lanes,)`` bool.
    """

    def __init__(
        self, file: int, observation_space: gymnasium.Space[object], action_space: gymnasium.Space[object], lanes: int
    ):
        self.lanes = lanes
        self._spaces = {
            "observation": observation_space,
            "final": observation_space,
            "action": action_space,
            "label": action_space,
        }
        self._leaves = {role: leaves(space) for role, space in self._spaces.items()}
        types = {(role, leaf.path): _type_of(leaf.space) for role, found in self._leaves.items() for leaf in found}
        types |= {("reward", ""): (np.dtype("float64"), ())}
        types |= {(role, ""): (np.dtype("bool"), ()) for role in ("terminated", "truncated")}
        places, size = {}, 0
        for key, (dtype, shape) in types.items():
            places[key] = size
            size += -(-lanes * dtype.itemsize * math.prod(shape) // ALIGNMENT) * ALIGNMENT
        os.ftruncate(file, size)  # both sides compute the same size
        shared = mmap.mmap(file, size)
        arrays = {
            key: np.ndarray((lanes, *shape), dtype, shared, places[key]) for key, (dtype, shape) in types.items()
        }
        self.reward, self.terminated, self.truncated = (
            arrays[role, ""] for role in ("reward", "terminated", "truncated")
        )
        self._arrays: dict[str, Arrays] = {
            role: {leaf.path: arrays[role, leaf.path] for leaf in found} for role, found in self._leaves.items()
        }

    def write(self, role: str, value: object, lane: int | None = None, member: bool = False) -> None:
        """Stores the value of one lane, or a batch of all of them.

        Args:
            role: ``observation``, ``final``, ``action`` or ``label``.
            value: member of the space or, for all lanes, of the batched space.
            lane: index of the lane; None for all.
            member: check that the value is inside the space, not only that it fits into its slots.

        Raises:
            SpaceMismatchError: if the value does not fit, or is outside its space; names the leaf.
        """
        parts = flatten(self._spaces[role], value)
        for leaf in self._leaves[role]:
            part = parts[leaf.path]
            fitted = _fitted(leaf, part, (self.lanes,) if lane is None else ())
            if member and not leaf.space.contains(part if isinstance(leaf.space, spaces.Text) else fitted):
                raise SpaceMismatchError(f"leaf '{leaf.path}': {part!r:.200} is outside {leaf.space!s:.200}")
            self._arrays[role][leaf.path][slice(None) if lane is None else lane] = fitted

    def checksum(self, role: str) -> int:
        """CRC-32 of the values of all lanes."""
        value = 0
        for array in self._arrays[role].values():
            value = zlib.crc32(array.data, value)
        return value

    def read(self, role: str, lane: int | None = None) -> Any:
        """A copy of the value of one lane: a member of the space or, for all lanes, of the batched space."""
        parts: dict[str, Any] = {}
        for leaf in self._leaves[role]:
            array = self._arrays[role][leaf.path]
            if isinstance(leaf.space, spaces.Text):
                parts[leaf.path] = tuple(map(str, array)) if lane is None else str(array[lane])
            elif isinstance(leaf.space, spaces.Discrete) and lane is not None:
                parts[leaf.path] = array[lane]
            else:
                parts[leaf.path] = np.array(array if lane is None else array[lane])
        return unflatten(self._spaces[role], parts)


# --- JSON ------------------------------------------------------------------------------------------------------------


def to_json(value: object) -> Json:
    """Converts plain values, arrays, tuples, lists and dictionaries of them to JSON values.

    Raises:
        TypeError: for anything else.
    """
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufU":
        return {ARRAY: base64.b64encode(value.tobytes()).decode(), "dtype": value.dtype.str, "shape": value.shape}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {TUPLE: [to_json(item) for item in value]}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} cannot be sent between processes")


def from_json(data: Json) -> Json:
    """Inverse of `to_json`."""
    if isinstance(data, list):
        return [from_json(item) for item in data]
    if not isinstance(data, dict):
        return data
    if ARRAY in data:
        return np.frombuffer(bytearray(base64.b64decode(data[ARRAY])), data["dtype"]).reshape(data["shape"])[()]
    if TUPLE in data:
        return tuple(from_json(item) for item in data[TUPLE])
    return {key: from_json(item) for key, item in data.items()}


def portable_info(info: Info) -> Info:
    """The entries of an info that JSON can hold and that are not too long, as `to_json` writes them."""
    entries = {}
    for key, value in info.items():
        try:
            entry = to_json(value)
        except TypeError:
            continue
        if isinstance(key, str) and len(json.dumps(entry)) <= INFO_BYTES:
            entries[key] = entry
    return entries
