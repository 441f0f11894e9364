"""Which values are members of a space, for whole columns at a time; and what tells two episodes apart."""

from __future__ import annotations

import hashlib
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .schema import PER_STEP, ROLES


def outside(space: gymnasium.Space, values: np.ndarray) -> np.ndarray:
    """Which of N values of a leaf are no members of it; NaN and infinities never are.

    Args:
        space: a primitive space.
        values: ``(N, *shape)``, Text as objects.

    Returns:
        ``(N,)`` bool.
    """
    if isinstance(space, spaces.Text):
        return np.array([not space.contains(str(text)) for text in values], bool)
    low: Any
    high: Any
    if isinstance(space, spaces.Box):
        low, high = space.low, space.high
    elif isinstance(space, spaces.Discrete):
        low, high = space.start, space.start + space.n - 1
    elif isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    else:
        low, high = 0, 1  # MultiBinary
    wrong = (values < low) | (values > high)
    if np.issubdtype(values.dtype, np.floating):
        wrong |= ~np.isfinite(values)
    return wrong.reshape(len(values), -1).any(axis=1)


def digest(steps: dict[str, Any]) -> bytes:
    """16 bytes that are the same for two episodes only if they hold the same values.

    Args:
        steps: as `EnvironmentTrajectories.slice` returns them.
    """
    found = hashlib.blake2b(digest_size=16)
    for name in (*ROLES, *PER_STEP):
        leaves = steps[name] if isinstance(steps[name], dict) else {"": steps[name]}
        for path in sorted(leaves):
            values = leaves[path]
            text = values.dtype == object
            found.update("\x00".join(values).encode() if text else np.ascontiguousarray(values).tobytes())
            found.update(b"\x1f")
    return found.digest()
