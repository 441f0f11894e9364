"""Libraries whose environments are no well-behaved Gymnasium ids."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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


def make_metaworld(task: str, render_mode: str | None = None) -> gymnasium.Env:
    """A Meta-World v3 task (Yu et al. 2019, McLean et al. 2025) by its name, such as ``reach-v3``."""
    import metaworld

    benchmark = metaworld.MT1(task, seed=0)
    env_class: Any = benchmark.train_classes[task]
    env = env_class(render_mode=render_mode)
    env.set_task(benchmark.train_tasks[0])  # makes the goal visible, whose bounds the space made before does not have
    env.observation_space = env.sawyer_observation_space
    return MetaWorldTask(env, benchmark.train_tasks)


class GlobalRandomState(gymnasium.Wrapper):
    """An environment that draws from NumPy's global generator gets one of its own, seeded by `reset`."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._generator = np.random.MT19937(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._generator = np.random.MT19937(seed)
        with self._own_generator():
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        with self._own_generator():
            return self.env.step(int(action))  # NASim refuses NumPy's integers

    @contextlib.contextmanager
    def _own_generator(self) -> Iterator[None]:
        numpy_random: Any = np.random  # the type stubs do not export these two functions
        outside = numpy_random.get_bit_generator()
        numpy_random.set_bit_generator(self._generator)
        try:
            yield
        finally:
            numpy_random.set_bit_generator(outside)


def make_nasim(scenario: str, render_mode: str | None = None) -> gymnasium.Env:
    """A network of NASim (Schwartz & Kurniawati 2019) that is fully observed, with flat actions."""
    import nasim

    return GlobalRandomState(nasim.make_benchmark(scenario, seed=0, fully_obs=True, flat_actions=True, flat_obs=True))


def make_super_mario(env_id: str, render_mode: str | None = None, **kwargs: Any) -> gymnasium.Env:
    """Super Mario Bros. (Kauten 2018) with its seven simple moves: old Gym before its API changed."""
    import gym
    import gym_super_mario_bros
    from gym_super_mario_bros.actions import SIMPLE_MOVEMENT
    from nes_py.wrappers import JoypadSpace
    from shimmy import GymV21CompatibilityV0

    assert gym_super_mario_bros  # its import registers the ids
    env = gym.make(env_id, disable_env_checker=True, **kwargs).unwrapped  # without the wrappers of the later API
    return GymV21CompatibilityV0(env=JoypadSpace(env, SIMPLE_MOVEMENT), render_mode=render_mode)


class Jumanji(gymnasium.Env):
    """A Jumanji environment (Bonnet et al. 2024): an episode ends in one way only, and infos tell the legal actions where there is one choice."""

    def __init__(self, env_id: str, render_mode: str | None = None) -> None:
        import jumanji
        from jumanji.wrappers import JumanjiToGymWrapper

        self.env: Any = JumanjiToGymWrapper(jumanji.make(env_id))
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed)
        return observation, self._with_mask(info, observation)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated and not terminated, self._with_mask(info, observation)

    def _with_mask(self, info: dict[str, Any], observation: Any) -> dict[str, Any]:
        if isinstance(self.action_space, gymnasium.spaces.Discrete) and "action_mask" in observation:
            return {**info, "action_mask": observation["action_mask"]}
        return info
