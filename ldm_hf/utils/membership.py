"""Which values are members of a primitive space, and which a column can hold without a change."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces


def outside(space: gymnasium.Space[object], values: np.ndarray) -> np.ndarray:
    """Whether each of N values of a leaf is no member of its space; NaN, infinities and halves of choices never are.

    Args:
        space: a primitive space.
        values: ``(N, *shape)``, Text as objects.

    Returns:
        ``(N,)`` bool.
    """
    if isinstance(space, spaces.Text):
        return np.array([not (isinstance(text, str) and space.contains(text)) for text in values], bool)
    low, high = bounds(space)
    wrong = unlike(space, values) | (values < low) | (values > high)
    return np.asarray(wrong.reshape(len(values), -1).any(axis=1))


def bounds(space: gymnasium.Space[object]) -> tuple[np.ndarray | np.integer | int, np.ndarray | np.integer | int]:
    """The smallest and the largest value of a primitive space of numbers."""
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.Discrete):
        return space.start, space.start + space.n - 1
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    return 0, 1  # MultiBinary


def unlike(space: gymnasium.Space[object], values: np.ndarray) -> np.ndarray:
    """Whether each single number is none that the type of the space can hold: NaN, infinity, a half where wholes are.

    Returns:
        As many flags as ``values`` has numbers, in the same shape.
    """
    if values.dtype.kind not in "fc":
        return np.zeros(values.shape, bool)
    wrong: np.ndarray = ~np.isfinite(values)
    if space.dtype is not None and space.dtype.kind in "iub":
        wrong |= np.where(wrong, False, values != np.trunc(np.where(wrong, 0, values)))
    return wrong


def changed_by_cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Whether each of N values is another one after it is stored as ``dtype``: cut, wrapped around or infinite.

    Real numbers may be rounded to single precision.

    Args:
        values: ``(N, *shape)``, numbers or truth values.
        dtype: type of a column.

    Returns:
        ``(N,)`` bool.
    """
    if values.dtype == dtype or not values.size or np.can_cast(values.dtype, dtype, "safe"):
        return np.zeros(len(values), bool)
    with np.errstate(all="ignore"):
        stored = values.astype(dtype)
        changed = np.isfinite(values) & ~np.isfinite(stored) if dtype.kind == "f" else stored != values
    return np.asarray(changed.reshape(len(values), -1).any(axis=1))
