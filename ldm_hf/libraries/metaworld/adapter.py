"""Meta-World (Yu et al. 2019, McLean et al. 2025)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np


class MetaWorldTask(gymnasium.Wrapper):
    """One Meta-World task whose goal is drawn from its 50 by the seed of `reset` (the library's own wrapper ignores that seed)."""

    def __init__(self, env: gymnasium.Env, tasks: list[Any]) -> None:
        super().__init__(env)
        self.tasks = tasks
        self._rng = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.env.unwrapped.set_task(self.tasks[self._rng.integers(len(self.tasks))])  # type: ignore[attr-defined]
        return self.env.reset(seed=seed, options=options)


@lru_cache(
    maxsize=1
)  # several lanes are made one after the other, and drawing 50 tasks takes longer than anything else
def _benchmark(task: str) -> Any:
    import metaworld

    return metaworld.MT1(task, seed=0)


def make_metaworld(task: str, render_mode: str | None = None) -> gymnasium.Env:
    """A Meta-World v3 task (Yu et al. 2019, McLean et al. 2025) by its name, such as ``reach-v3``."""
    benchmark = _benchmark(task)
    env_class: Any = benchmark.train_classes[task]
    env = env_class(render_mode=render_mode)
    env.set_task(benchmark.train_tasks[0])  # makes the goal visible, whose bounds the space made before does not have
    env.observation_space = env.sawyer_observation_space
    return MetaWorldTask(env, benchmark.train_tasks)
