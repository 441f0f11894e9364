"""The usual preprocessing of Atari games (Mnih et al. 2015)."""

from __future__ import annotations

import gymnasium


def atari(env: gymnasium.Env) -> gymnasium.Env:
    """84 x 84 grey frames, every fourth one, after up to 30 steps of doing nothing."""
    return gymnasium.wrappers.AtariPreprocessing(env, noop_max=30, frame_skip=4, screen_size=84)
