"""Super Mario Bros. for the Nintendo Entertainment System: old Gym before its API changed."""

from __future__ import annotations

from typing import Any

import gymnasium


def make_super_mario(env_id: str, render_mode: str | None = None, **kwargs: Any) -> gymnasium.Env:
    """Super Mario Bros. (Kauten 2018) with its seven simple moves."""
    import gym
    import gym_super_mario_bros
    from gym_super_mario_bros.actions import SIMPLE_MOVEMENT
    from nes_py.wrappers import JoypadSpace
    from shimmy import GymV21CompatibilityV0

    assert gym_super_mario_bros  # its import registers the ids
    env = gym.make(env_id, disable_env_checker=True, **kwargs).unwrapped  # without the wrappers of the later API
    return GymV21CompatibilityV0(env=JoypadSpace(env, SIMPLE_MOVEMENT), render_mode=render_mode)
