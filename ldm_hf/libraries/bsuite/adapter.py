"""bsuite (Osband et al. 2020): diagnosis of what an agent can do, one ability at a time."""

from __future__ import annotations

import inspect
from typing import Any

import dm_env
import gymnasium
import numpy as np
from gymnasium import spaces


class BSuiteEnv(gymnasium.Env):
    """One experiment with one setting; made anew by a seeded reset, since its generator is set when it is made.

    Args:
        experiment: such as ``deep_sea``.
        settings: of that experiment, as in `bsuite.sweep`.
    """

    def __init__(
        self, experiment: str, settings: dict[str, Any] | None = None, render_mode: str | None = None
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

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._make(seed % 2**32)
        return self._observe(self._env.reset()), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        step = self._env.step(int(action))
        return self._observe(step), float(step.reward or 0.0), step.last(), False, {}

    def _observe(self, step: Any) -> np.ndarray:
        return np.array(step.observation, np.float32).reshape(self.observation_space.shape)
