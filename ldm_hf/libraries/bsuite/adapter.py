"""The experiments of bsuite (Osband et al. 2020) as Gymnasium environments."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.spaces import Action, Info

if TYPE_CHECKING:
    import dm_env


class BSuiteEnv(gymnasium.Env):
    """One experiment with one setting; a seeded reset makes a new one, since its generator is set when it is made.

    Args:
        experiment: name of the experiment, such as ``deep_sea``.
        settings: arguments of the experiment, as in `bsuite.sweep`.
        render_mode: not used.
    """

    def __init__(
        self, experiment: str, settings: dict[str, object] | None = None, render_mode: str | None = None
    ) -> None:
        self.experiment, self.settings, self.render_mode = experiment, settings or {}, render_mode
        self._make(0)
        seen = self._env.observation_spec()
        low, high = (getattr(seen, bound, sign * np.inf) for bound, sign in (("minimum", -1), ("maximum", 1)))
        self.observation_space = spaces.Box(
            np.full(seen.shape, low, np.float32), np.full(seen.shape, high, np.float32), dtype=np.float32
        )
        self.action_space = spaces.Discrete(int(self._env.action_spec().num_values))

    def _make(self, seed: int) -> None:
        from bsuite import bsuite

        constructor = bsuite.EXPERIMENT_NAME_TO_ENVIRONMENT[self.experiment]
        seeded = {"seed": seed} if "seed" in inspect.signature(constructor).parameters else {}
        self._env: dm_env.Environment = constructor(**seeded, **self.settings)
        if not seeded and hasattr(self._env, "_rng"):
            self._env._rng = np.random.RandomState(seed)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        if seed is not None:
            self._make(seed % 2**32)
        return self._observe(self._env.reset()), {}

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        step = self._env.step(int(action))
        return self._observe(step), float(step.reward or 0.0), step.last(), False, {}

    def _observe(self, step: dm_env.TimeStep) -> np.ndarray:
        return np.array(step.observation, np.float32).reshape(self.observation_space.shape)
