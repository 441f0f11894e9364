"""MiniGrid's missions as text, and its view as pixels."""

from __future__ import annotations

import string
from typing import Any

import gymnasium
from gymnasium import spaces

MISSION_CHARACTERS = frozenset(string.ascii_letters + string.digits + string.punctuation + " ")


class TextMission(gymnasium.ObservationWrapper):
    """MiniGrid's missions as a `Text` leaf: its own MissionSpace is known to no one else."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        mission = spaces.Text(max_length=200, min_length=0, charset=MISSION_CHARACTERS)
        self.observation_space = spaces.Dict({**env.observation_space.spaces, "mission": mission})

    def observation(self, observation: Any) -> Any:
        return observation


def rgb_view(env: gymnasium.Env) -> gymnasium.Env:
    """MiniGrid's partial view as real pixels, 7 x 7 tiles of 8 x 8."""
    from minigrid.wrappers import RGBImgPartialObsWrapper

    return RGBImgPartialObsWrapper(env, tile_size=8)
