"""Frames of Atari games as they are usually preprocessed."""

from __future__ import annotations

import gymnasium


def atari(env: gymnasium.Env) -> gymnasium.Env:
    """84 x 84 grey frames, every fourth one (Mnih et al. 2015)."""
    return gymnasium.wrappers.AtariPreprocessing(env, noop_max=30, frame_skip=4, screen_size=84)
