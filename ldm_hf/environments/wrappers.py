"""Wrappers that some libraries need to keep Gymnasium's contract, or to stay small enough."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from ..spaces import Action, Info, Observation


class GlobalRandomState(gymnasium.Wrapper):
    """Gives an environment that draws from NumPy's global generator a generator of its own, seeded by `reset`."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._generator = np.random.MT19937(0)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        if seed is not None:
            self._generator = np.random.MT19937(seed)
        with self._swapped_generator():
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, Info]:
        with self._swapped_generator():
            return self.env.step(action)

    @contextlib.contextmanager
    def _swapped_generator(self) -> Iterator[None]:
        numpy_random: Any = np.random  # the type stubs do not export these two functions
        outside = numpy_random.get_bit_generator()
        numpy_random.set_bit_generator(self._generator)
        try:
            yield
        finally:
            numpy_random.set_bit_generator(outside)


def unbounded(env: gymnasium.Env) -> gymnasium.Env:
    """Removes the bounds of real-valued observations, for libraries whose worlds may break them."""

    def widened(space: gymnasium.Space[object]) -> gymnasium.Space[object]:
        if isinstance(space, spaces.Dict):
            return spaces.Dict({name: widened(child) for name, child in space.spaces.items()})
        if isinstance(space, spaces.Tuple):
            return spaces.Tuple([widened(child) for child in space.spaces])
        if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            return spaces.Box(-np.inf, np.inf, space.shape, space.dtype.type)
        return space

    return gymnasium.wrappers.TransformObservation(
        env, lambda observation: observation, widened(env.observation_space)
    )


def unit_actions(env: gymnasium.Env) -> gymnasium.Env:
    """Bounds actions to [-1, 1], for motors without limits: a random action of theirs breaks the physics at once."""
    space = env.action_space
    assert isinstance(space, spaces.Box)
    return gymnasium.wrappers.TransformAction(
        env, lambda action: action, spaces.Box(-1.0, 1.0, space.shape, space.dtype.type)
    )


class SeedEveryReset(gymnasium.Wrapper):
    """Seeds every reset, for libraries that would otherwise start from chance.

    A reset without a seed gets the next number of a generator that the last seed started.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._rng = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Observation, Info]:
        if seed is None:
            seed = int(self._rng.integers(2**31))
        else:
            self._rng = np.random.default_rng(seed)
        return self.env.reset(seed=seed, options=options)


class SumOfRewards(gymnasium.Wrapper):
    """Replaces a vector of rewards (several objectives, or the members of a team) by its sum."""

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(np.asarray(reward).sum()), terminated, truncated, info


WRAPPERS: dict[str, Callable[[gymnasium.Env], gymnasium.Env] | str] = {
    "global_random_state": GlobalRandomState,
    "seed_every_reset": SeedEveryReset,
    "sum_of_rewards": SumOfRewards,
    "unbounded": unbounded,
    "unit_actions": unit_actions,
}
"""Wrappers by the name that rows use; the folders of libraries add theirs as ``module:attribute``."""
