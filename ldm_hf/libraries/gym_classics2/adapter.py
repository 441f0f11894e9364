"""The worlds of gym-classics2 by their classes: the library registers its ids only when it is asked to."""

from __future__ import annotations

from importlib import import_module

import gymnasium


def make_world(place: str, name: str, render_mode: str | None = None) -> gymnasium.Env:
    """A world of the library.

    Args:
        place: module within ``gym_classics2.envs.gym_classics2``.
        name: class.
        render_mode: not used.
    """
    made: gymnasium.Env = getattr(import_module(f"gym_classics2.envs.gym_classics2.{place}"), name)()
    return made
