"""Tasks of Meta-World (Yu et al. 2019, McLean et al. 2025) whose goals follow from the seed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from ldm_hf.spaces import Info, Observation

if TYPE_CHECKING:
    import metaworld
    from metaworld.types import Task


class MetaWorldTask(gymnasium.Wrapper):
    """One task whose goal the seed of `reset` draws from its fifty; the library's own wrapper ignores that seed.

    Args:
        env: environment of the task.
        tasks: the goals, as the library wraps them.
    """

    def __init__(self, env: gymnasium.Env, tasks: list[Task]) -> None:
        super().__init__(env)
        self.tasks = tasks
        self._rng = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Observation, Info]:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.env.get_wrapper_attr("set_task")(self.tasks[self._rng.integers(len(self.tasks))])
        return self.env.reset(seed=seed, options=options)


# Several lanes are made one after the other, and drawing fifty goals takes longer than anything else.
@lru_cache(maxsize=1)
def _benchmark(task: str) -> metaworld.MT1:
    import metaworld

    return metaworld.MT1(task, seed=0)


def make_metaworld(task: str, render_mode: str | None = None) -> gymnasium.Env:
    """Makes a task by its name in the third version of the library, such as ``reach-v3``."""
    benchmark = _benchmark(task)
    env_class: Any = benchmark.train_classes[task]  # typed for some literal render modes
    env = env_class(render_mode=render_mode)
    # makes the goal visible, whose bounds the first observation space lacks
    env.set_task(benchmark.train_tasks[0])
    env.observation_space = env.sawyer_observation_space
    return MetaWorldTask(env, benchmark.train_tasks)
