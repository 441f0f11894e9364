"""Games of old consoles in Stable Retro; only the one whose ROM comes with the library needs nothing else."""

from __future__ import annotations

import gymnasium


def make_stable_retro(game: str, actions: str = "DISCRETE", render_mode: str | None = None) -> gymnasium.Env:
    """Makes a game.

    Args:
        game: name of the game in the library.
        actions: the buttons as one choice (``DISCRETE``) or by groups that exclude each other (``MULTI_DISCRETE``).
        render_mode: Gymnasium's; None means ``rgb_array``, since the library's own default opens a window.
    """
    import stable_retro

    restricted = stable_retro.Actions[actions]
    env: gymnasium.Env = stable_retro.make(
        game, use_restricted_actions=restricted, render_mode=render_mode or "rgb_array"
    )
    return env
