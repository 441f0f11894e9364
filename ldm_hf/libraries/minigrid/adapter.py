"""Missions of MiniGrid (Chevalier-Boisvert et al. 2023) as text, and its view as pixels."""

from __future__ import annotations

import string

import gymnasium
from gymnasium import spaces

from ldm_hf.spaces import Observation

MISSION_CHARACTERS = frozenset(string.ascii_letters + string.digits + string.punctuation + " ")


class TextMission(gymnasium.ObservationWrapper):
    """Makes the mission a `Text` leaf; MiniGrid's own MissionSpace is known to no other library."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        mission = spaces.Text(max_length=200, min_length=0, charset=MISSION_CHARACTERS)
        self.observation_space = spaces.Dict({**env.observation_space.spaces, "mission": mission})

    def observation(self, observation: Observation) -> Observation:
        return observation


def rgb_view(env: gymnasium.Env) -> gymnasium.Env:
    """Shows the partial view as real pixels, 7 x 7 tiles of 8 x 8."""
    from minigrid.wrappers import RGBImgPartialObsWrapper

    return RGBImgPartialObsWrapper(env, tile_size=8)
