"""A pilot for Flappy Bird."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

WIDTH, HEIGHT = 34, 24  # of the bird, in pixels
PIPE, LONG, WAY = 52, 320, 4  # width and length of a pipe, and how far it moves in a frame
FLAP, PULL, FASTEST = -9, 1, 10  # speed after a flap, what falling adds in a frame, and at most


class GapFlyer(Reference):
    """Flaps when the bird would sink below the next gap, at the height with which all goes well for longest."""

    name = "gap_flyer"
    method = "planner"
    worlds = ("FlappyBirdEnv",)
    frames = 60  # that are flown ahead: at least one pipe
    margins = (8, 4, 12, 16, 24, 0, -8)  # pixels between the lower edge of the gap and the bird, the best guess first

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        game = inside(env)
        plans = [(margin, first) for first in (None, True, False) for margin in self.margins]
        margin, first = plans[0]
        longest = 0
        for plan in plans:
            if (survived := self._survived(game, *plan)) > longest:
                (margin, first), longest = plan, survived
            if longest == self.frames:
                break
        return np.int64(self._sinks(game, game._player_y, game._player_vel_y, 0, margin) if first is None else first)

    @staticmethod
    def _sinks(game: Any, height: float, speed: float, moved: float, margin: int) -> bool:
        """Whether the bird will be below the next gap but for a margin."""
        ahead = [pipe for pipe in game._lower_pipes if pipe["x"] - moved + PIPE >= game._player_x]
        if not ahead:
            return False  # further than what is known
        edge = min(ahead, key=lambda pipe: pipe["x"])["y"]
        return bool(height + speed + PULL + HEIGHT + margin > edge)

    def _survived(self, game: Any, margin: int, first: bool | None) -> int:
        """Frames until the bird hits something, at most `frames`."""
        height, speed, ground = game._player_y, game._player_vel_y, game._ground["y"]
        for frame in range(self.frames):
            flap = self._sinks(game, height, speed, WAY * frame, margin) if first is None or frame else first
            speed = FLAP if flap else min(speed + PULL, FASTEST)
            height += min(speed, ground - height - HEIGHT)
            if height < 0 or height + HEIGHT >= ground - 1:
                return frame
            for above, below in zip(game._upper_pipes, game._lower_pipes, strict=True):
                left = above["x"] - WAY * (frame + 1) - game._player_x
                beside = -PIPE - 1 < left < WIDTH + 1
                if beside and (height < above["y"] + LONG + 1 or height + HEIGHT > below["y"] - 1):
                    return frame
        return self.frames
