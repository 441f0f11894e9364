"""A rule for Flappy Bird."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

HEIGHT = 24  # of the bird, in pixels
PIPE, WAY = 52, 4  # width of a pipe, and how far it moves in a frame


class GapFlyer(Reference):
    """Flaps whenever the bird would sink below the lower edge of the next gap.

    Args:
        env: the game.
        margin: pixels between that edge and the bird.
    """

    name = "gap_flyer"
    worlds = ("FlappyBirdEnv",)

    def __init__(self, env: gymnasium.Env, margin: float = 6.0) -> None:
        self.margin = margin

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, float]]:
        return [{"margin": margin} for margin in (3.0, 6.0, 10.0, 15.0)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        game = inside(env)
        ahead = [pipe for pipe in game._lower_pipes if pipe["x"] + PIPE + WAY >= game._player_x]
        edge = min(ahead, key=lambda pipe: pipe["x"])["y"]
        sinks = game._player_y + game._player_vel_y + 1 + HEIGHT + self.margin
        return np.int64(sinks > edge)
