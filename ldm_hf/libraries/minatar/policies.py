"""MinAtar by rule."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference


class MinAtarFreeway(Reference):
    """Searches the way across that takes the fewest frames, since the cars of MinAtar (Young & Tian 2019) move as regularly as clocks."""

    name = "minatar_freeway"
    method = "planner"
    horizon = 100  # frames; without cars, a crossing takes 27

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        minatar: Any = env.unwrapped
        game, actions = minatar.game.env, minatar.game.minimal_action_set()
        hit = self._hits(game.cars)
        # (row, frames until the next move) -> first action of the way there
        reached: dict[tuple[int, int], str] = {}
        for frame in range(self.horizon):
            following: dict[tuple[int, int], str] = {}
            for row, wait, first in (
                [(game.pos, game.move_timer, "")] if frame == 0 else [(*k, v) for k, v in reached.items()]
            ):
                for move, shift in (("u", -1), ("n", 0), ("d", 1)):
                    if shift and wait:
                        continue
                    there = min(row + shift, 9)
                    if there == 0:
                        return np.int64(actions.index(game.action_map.index(first or move)))
                    if hit[frame, there]:
                        continue  # back to the start: never faster than to wait there
                    following.setdefault((there, max((3 if shift else wait) - 1, 0)), first or move)
            reached = following
        return np.int64(actions.index(game.action_map.index("n")))

    def _hits(self, cars: list) -> np.ndarray:
        """``(horizon, 10)``: whether a chicken in this row would be hit in this frame."""
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
