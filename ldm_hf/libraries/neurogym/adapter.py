"""NeuroGym's tasks under Gymnasium's contract: a seed makes the trials, and observations have the space's type."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.spaces import Action, Info


class TrialsEnv(gymnasium.Env):
    """Trials of a task, one after the other without end.

    Args:
        task: id of the task in the library, such as ``GoNogo-v0``.
        render_mode: not used.
        **kwargs: options of the task, such as ``sigma``, its noise.
    """

    def __init__(self, task: str, render_mode: str | None = None, **kwargs: object) -> None:
        import neurogym

        self.render_mode = render_mode
        self.task = neurogym.make(task, **kwargs).unwrapped
        self.observation_space, self.action_space = self.task.observation_space, self.task.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, Info]:
        super().reset(seed=seed)
        self.task.seed(int(self.np_random.integers(2**31)))  # its own reset leaves its random numbers as they are
        observation, _ = self.task.reset()
        return self._typed(observation), {}

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        observation, reward, terminated, truncated, _ = self.task.step(action)
        return self._typed(observation), float(reward), bool(terminated), bool(truncated), {}

    def _typed(self, observation: np.ndarray) -> np.ndarray:
        space = self.observation_space
        return np.clip(np.asarray(observation, space.dtype), space.low, space.high)  # type: ignore[attr-defined]
