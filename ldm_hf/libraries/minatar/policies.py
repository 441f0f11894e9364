"""A planner for one game of MinAtar (Young & Tian 2019)."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation


class MinAtarFreeway(Reference):
    """Searches for the way across that takes the fewest frames; the cars move like clockwork, so all hits are known."""

    name = "minatar_freeway"
    method = "planner"
    horizon = 100  # frames; without cars, a crossing takes 27

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        minatar = inside(env)
        game, actions = minatar.game.env, minatar.game.minimal_action_set()
        hit = self._hits(game.cars)
        # (row, frames until the next move) -> first action of the way there
        reached: dict[tuple[int, int], str] = {(game.pos, game.move_timer): ""}
        for frame in range(self.horizon):
            following: dict[tuple[int, int], str] = {}
            for (row, wait), first in reached.items():
                for move, shift in (("u", -1), ("n", 0), ("d", 1)):
                    if shift and wait:
                        continue
                    there = min(row + shift, 9)
                    if there == 0:
                        return np.int64(actions.index(game.action_map.index(first or move)))
                    if hit[frame, there]:
                        continue  # sent back to the start, which is never faster than waiting there
                    following.setdefault((there, max((3 if shift else wait) - 1, 0)), first or move)
            reached = following
        return np.int64(actions.index(game.action_map.index("n")))

    def _hits(self, cars: list[list[int]]) -> np.ndarray:
        """Whether a chicken in a row would be hit in a frame, ``(horizon, 10)``."""
        hit = np.zeros((self.horizon, 10), bool)
        for column, row, timer, speed in cars:
            for frame in range(self.horizon):
                hit[frame, row] |= column == 4
                if timer == 0:
                    column, timer = (column + np.sign(speed)) % 10, abs(speed)
                    hit[frame, row] |= column == 4
                else:
                    timer -= 1
        return hit
