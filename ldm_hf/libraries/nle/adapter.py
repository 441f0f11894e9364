"""A wrapper that makes NetHack and MiniHack reproducible."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.spaces import Info, Observation


class SeededNetHack(gymnasium.Wrapper):
    """Makes a game follow from the seed of `reset`.

    NetHack and MiniHack ignore that seed, and draw new random seeds in the middle of a game.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._rng = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Observation, Info]:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        core, display, level = (int(number) for number in self._rng.integers(2**31, size=3))
        self.get_wrapper_attr("seed")(core, display, reseed=False, lgen=level)
        return self.env.reset(seed=seed, options=options)
