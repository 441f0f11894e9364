"""Converts between the spaces of an environment and those that Stable-Baselines3 learns in."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ...errors import UnsupportedSpaceError
from ...spaces import Action, Info, Leaf, Observation, flatten, leaves, unflatten

IMAGE_SIDE = 36  # pixels; the convolutions of Mnih et al. (2015) read no smaller image
MOST_CHOICES = 64  # values of a bounded integer that is learned as a choice


class Adapter:
    """Converts observations to one array, and the outputs of a network to actions.

    An observation of one Box stays as it is, with the channels of an image put first; several leaves become one vector,
    with choices as indicators. Texts are left out. Actions are all choices or all bounded real numbers.

    Args:
        observation_space: observation space of the environment.
        action_space: action space of the environment.

    Attributes:
        observation_space: Box that the network reads.
        action_space: Box, Discrete or MultiDiscrete that the network acts in.
        image: whether observations are images.

    Raises:
        UnsupportedSpaceError: if observations are texts only, or if actions mix choices with real numbers or have no
            bounds.
    """

    def __init__(self, observation_space: gymnasium.Space[object], action_space: gymnasium.Space[object]) -> None:
        self._seen, self._acted = observation_space, action_space
        self._leaves = [leaf for leaf in leaves(observation_space) if not isinstance(leaf.space, spaces.Text)]
        if not self._leaves:
            raise UnsupportedSpaceError(
                f"nothing but text in {observation_space}, so no policy can be learned; "
                "give the environment a reference policy"
            )
        only = observation_space if isinstance(observation_space, spaces.Box) else None
        self.image = only is not None and only.dtype == np.uint8 and min(only.shape[:2], default=0) >= IMAGE_SIDE
        self.observation_space: spaces.Box
        if self.image:
            assert only is not None
            channels = only.shape[2] if len(only.shape) == 3 else 1
            self.observation_space = spaces.Box(0, 255, (channels, *only.shape[:2]), np.uint8)
        elif only is not None and only.dtype != np.uint8:
            self.observation_space = only
        else:
            size = sum(_width(leaf) for leaf in self._leaves)
            self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self._vector = not self.image and self.observation_space is not only
        self.action_space = self._learnable(action_space)

    @property
    def changes_nothing(self) -> bool:
        """Whether observations and actions pass through as they are, also in batches."""
        return not self.image and not self._vector and self.action_space is self._acted

    def observation(self, value: Observation) -> np.ndarray:
        """The array that the network reads."""
        if self.image:
            return np.atleast_3d(value).transpose(2, 0, 1)
        if not self._vector:
            array: np.ndarray = value
            return array
        parts = flatten(self._seen, value)
        return np.concatenate([_numbers(leaf, parts[leaf.path]) for leaf in self._leaves])

    def action(self, chosen: np.ndarray) -> Action:
        """The action of the environment for the output of the network."""
        if self.action_space is self._acted:
            return chosen
        rest, parts = np.atleast_1d(chosen), {}
        for leaf in leaves(self._acted):
            shape = leaf.space.shape or ()
            count = int(np.prod(shape, dtype=int))
            values, rest = rest[:count].reshape(shape), rest[count:]
            start = self._first(leaf)
            moved = values if start is None else values + start
            parts[leaf.path] = moved.astype(leaf.space.dtype) if shape else np.asarray(moved, leaf.space.dtype)[()]
        return unflatten(self._acted, parts)

    def chosen(self, action: Action) -> np.ndarray:
        """The output of the network for which `action` gives this action of the environment."""
        if self.action_space is self._acted:
            return np.asarray(action)
        parts, found = flatten(self._acted, action), []
        for leaf in leaves(self._acted):
            start = self._first(leaf)
            found.append(np.ravel(parts[leaf.path] if start is None else parts[leaf.path] - start))
        numbers = np.concatenate(found).astype(self.action_space.dtype)
        return numbers[0] if isinstance(self.action_space, spaces.Discrete) else numbers

    def _first(self, leaf: Leaf) -> np.ndarray | np.integer | int | None:
        """The values that a network's choice of 0 stands for; None if it gives the values themselves."""
        return None if isinstance(self.action_space, spaces.Box) else _start(leaf.space)

    def _learnable(self, space: gymnasium.Space[object]) -> gymnasium.Space[object]:
        found = leaves(space)
        if all(_start(leaf.space) is not None for leaf in found):
            counts = np.concatenate([_counts(leaf.space) for leaf in found])
            if isinstance(space, spaces.Discrete) and space.start == 0:
                return space
            return spaces.Discrete(int(counts[0])) if len(counts) == 1 else spaces.MultiDiscrete(counts)
        if all(isinstance(leaf.space, spaces.Box) and leaf.space.is_bounded() for leaf in found):
            if isinstance(space, spaces.Box) and len(space.shape) == 1:
                return space
            low, high = (
                np.concatenate([np.ravel(getattr(leaf.space, end)) for leaf in found]) for end in ("low", "high")
            )
            return spaces.Box(low.astype(np.float32), high.astype(np.float32))
        raise UnsupportedSpaceError(
            f"no algorithm learns to act in {space!s:.200}, which mixes choices with numbers or has no bounds; "
            "give the environment a reference policy"
        )


class Adapted(gymnasium.Wrapper):
    """An environment in the spaces of its adapter, for training.

    Args:
        env: environment to wrap.
        adapter: adapter of that environment.
    """

    def __init__(self, env: gymnasium.Env, adapter: Adapter) -> None:
        super().__init__(env)
        self.adapter = adapter
        self.observation_space, self.action_space = adapter.observation_space, adapter.action_space

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, Info]:
        observation, info = self.env.reset(**kwargs)
        return self.adapter.observation(observation), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Info]:
        observation, reward, terminated, truncated, info = self.env.step(self.adapter.action(action))
        return self.adapter.observation(observation), float(reward), bool(terminated), bool(truncated), info


def _counts(space: gymnasium.Space[object]) -> np.ndarray:
    """The number of values that each element of a leaf of choices has."""
    if isinstance(space, spaces.Discrete):
        return np.array([space.n])
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ravel()
    if isinstance(space, spaces.MultiBinary):
        return np.full(int(np.prod(space.shape)), 2)
    assert isinstance(space, spaces.Box)
    counts: np.ndarray = space.high.astype(int) - space.low.astype(int) + 1
    return counts.ravel()


def _start(space: gymnasium.Space[object]) -> np.ndarray | np.integer | int | None:
    """The smallest values of a leaf of choices; None if its elements are not choices."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return space.start
    if isinstance(space, spaces.MultiBinary):
        return 0
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer) and space.is_bounded():
        few = (space.high.astype(float) - space.low.astype(float) < MOST_CHOICES).all()
        return space.low if few else None
    return None


def _width(leaf: Leaf) -> int:
    if isinstance(leaf.space, spaces.Discrete | spaces.MultiDiscrete):
        return int(_counts(leaf.space).sum())
    return int(np.prod(leaf.space.shape or (), dtype=int))


def _numbers(leaf: Leaf, value: object) -> np.ndarray:
    """The value of a leaf as a float32 vector, with each choice as an indicator."""
    if not isinstance(leaf.space, spaces.Discrete | spaces.MultiDiscrete):
        return np.asarray(value, np.float32).ravel()
    counts = _counts(leaf.space)
    vector = np.zeros(counts.sum(), np.float32)
    vector[np.cumsum(counts) - counts + np.ravel(np.asarray(value) - leaf.space.start)] = 1
    return vector
