"""What keeps NetHack reproducible."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class SeededNetHack(gymnasium.Wrapper):
    """NetHack and MiniHack take no notice of the seed of `reset`, and draw new random seeds in the middle of a game."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._rng = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        core, display, level = (int(number) for number in self._rng.integers(2**31, size=3))
        self.unwrapped.seed(core, display, reseed=False, lgen=level)  # type: ignore[attr-defined]
        return self.env.reset(seed=seed, options=options)
