"""Safety Gridworlds that can be closed."""

from __future__ import annotations

from importlib import import_module

import gymnasium


def make_grid(place: str, name: str, **kwargs: object) -> gymnasium.Env:
    """A grid of the library; its `close` fails where nothing was drawn, since only the pictures have what it closes.

    Args:
        place: module within the library's ``environments``.
        name: class.
        **kwargs: passed on to it.
    """
    made = getattr(import_module(f"safety_gridworlds_gymnasium.environments.{place}.env"), name)(**kwargs)
    if not hasattr(made, "renderer"):
        made.close = lambda: None
    assert isinstance(made, gymnasium.Env)
    return made
