"""How messages are written: MessagePack with NumPy arrays as openpi writes them, and JSON.

Nothing is unpickled: an array is a dtype of numbers, a shape and the bytes of just that many numbers.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from ..errors import ArgumentError, MissingExtraError

try:
    import msgpack
except ImportError as error:
    raise MissingExtraError("msgpack", "serve") from error

VERSION = 1
PLAIN = "biuf"  # kinds of dtypes that a message may have
AXES = 32


def pack(message: Any) -> bytes:
    """A message as MessagePack."""
    packed: bytes = msgpack.packb(message, default=_encode, strict_types=True)  # strict: tuples stay tuples
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """Reads MessagePack.

    Raises:
        ArgumentError: if it is something else, or has an array that is none.
    """
    try:
        return msgpack.unpackb(data, object_hook=_decode, strict_map_key=False)
    except ArgumentError:
        raise
    except Exception as error:  # msgpack has a class of its own for each reason, and raises what hooks raise
        raise ArgumentError(f"the message is no MessagePack ({type(error).__name__}: {error!s:.200})") from error


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in PLAIN:  # texts
            return value.tolist()
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": list(value.shape)}
    if isinstance(value, tuple):
        return {b"__tuple__": list(value)}
    if isinstance(value, np.generic) and value.dtype.kind in PLAIN:
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    kinds: tuple[Any, ...] = (str, int, float, dict, list)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    raise ArgumentError(f"{type(value).__name__} cannot be sent: {value!r:.100}")


def _decode(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        dtype, shape, data = _dtype(value.get(b"dtype")), value.get(b"shape"), value.get(b"data")
        if not isinstance(shape, list) or len(shape) > AXES or not all(type(n) is int and n >= 0 for n in shape):
            raise ArgumentError(f"an array has the shape {shape!r:.80}")
        if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
            raise ArgumentError(f"an array of shape {shape} and type {dtype} has other bytes than that takes")
        return np.frombuffer(data, dtype).reshape(shape)
    if b"__npgeneric__" in value:
        dtype, number = _dtype(value.get(b"dtype")), value.get(b"data")
        if not isinstance(number, bool | int | float):
            raise ArgumentError(f"a number is {number!r:.80}")
        try:
            return dtype.type(number)
        except OverflowError as error:
            raise ArgumentError(f"{number} is no {dtype}") from error
    if b"__tuple__" in value:
        items = value[b"__tuple__"]
        if not isinstance(items, list):
            raise ArgumentError(f"a tuple is {items!r:.80}")
        return tuple(items)
    return value


def _dtype(name: Any) -> np.dtype:
    try:
        dtype = np.dtype(name) if isinstance(name, str) else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in PLAIN:
        raise ArgumentError(f"an array has the type {name!r:.80}; numbers and truth values can be sent")
    return dtype


def to_json(message: Any) -> bytes:
    """A message as JSON; arrays become lists."""
    return json.dumps(message, default=_plain, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise ArgumentError(f"{type(value).__name__} cannot be sent as JSON; ask for it by MessagePack, or GET its path")


def from_json(data: bytes) -> Any:
    """Reads JSON.

    Raises:
        ArgumentError: if it is none.
    """
    try:
        return json.loads(data) if data else {}
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"the body is no JSON: {error!s:.200}") from error
