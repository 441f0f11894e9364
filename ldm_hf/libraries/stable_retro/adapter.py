"""Stable Retro: games of old consoles. Only the one whose ROM comes with the library needs nothing else."""

from __future__ import annotations

import gymnasium


def make_stable_retro(game: str, actions: str = "DISCRETE", render_mode: str | None = None) -> gymnasium.Env:
    """A game.

    Args:
        game: in the library's words.
        actions: the buttons as one choice (``DISCRETE``) or by groups that exclude each other (``MULTI_DISCRETE``).
        render_mode: None means ``rgb_array``: the library's own default opens a window.
    """
    import stable_retro

    restricted = stable_retro.Actions[actions]
    return stable_retro.make(game, use_restricted_actions=restricted, render_mode=render_mode or "rgb_array")
