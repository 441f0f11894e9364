"""A wrapper that makes or-gymnasium's problems the same in every process."""

from __future__ import annotations

import gymnasium
import numpy as np


class FixedInstance(gymnasium.Wrapper):
    """Draws what the library draws once, when a problem is made, with seed 0: items of a knapsack, places of a tour.

    Left to itself, every process has another problem under the same id.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        env.unwrapped.np_random = np.random.default_rng(0)
        env.unwrapped.__init__()  # type: ignore[misc]  # draws again, now from that generator
