"""Super Mario Bros. (Kauten 2018), which is written for Gym's API before version 0.26."""

from __future__ import annotations

from typing import Any

import gymnasium


def make_super_mario(env_id: str, render_mode: str | None = None, **kwargs: Any) -> gymnasium.Env:
    """Makes a level with the library's seven simple moves."""
    import gym
    import gym_super_mario_bros
    from gym_super_mario_bros.actions import SIMPLE_MOVEMENT
    from nes_py.wrappers import JoypadSpace
    from shimmy import GymV21CompatibilityV0

    assert gym_super_mario_bros  # its import registers the ids
    # without the wrappers of Gym's later API
    game = gym.make(env_id, disable_env_checker=True, **kwargs).unwrapped
    env: gymnasium.Env = GymV21CompatibilityV0(env=JoypadSpace(game, SIMPLE_MOVEMENT), render_mode=render_mode)
    return env
