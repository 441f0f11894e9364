"""Environments of Gymnasium with other physics, where their constructors have no argument for it."""

from __future__ import annotations

from functools import reduce
from typing import Any

import gymnasium
import numpy as np


def make_altered(
    env_id: str, changes: dict[str, object], render_mode: str | None = None, **kwargs: Any
) -> gymnasium.Env:
    """Makes an environment with other constants.

    Args:
        env_id: Gymnasium id.
        changes: new values by the path of an attribute of ``env.unwrapped``, such as ``model.opt.gravity``.
        render_mode: Gymnasium's.
        kwargs: further arguments of `gymnasium.make`.

    Raises:
        AttributeError: if there is no such attribute: a change without effect would be a copy under another name.
    """
    env = gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True, **kwargs)
    for path, value in changes.items():
        *owners, attribute = path.split(".")
        owner = reduce(getattr, owners, env.unwrapped)
        old = getattr(owner, attribute)
        if isinstance(old, np.ndarray):
            old[:] = value
        else:
            setattr(owner, attribute, value)
    return env
