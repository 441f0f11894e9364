"""Problems of the planning competitions in RDDL (Sanner 2010), simulated by pyRDDLGym (Taitler et al. 2022)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class RDDLEnv(gymnasium.Env):
    """An instance of a problem of rddlrepository; an episode lasts as long as its horizon says.

    Where one of several switches may be set at a time, the action is which one, or, as the last choice, none. Where several may be, those beyond
    the allowed number are not set.

    Args:
        problem: name in rddlrepository.
        instance: one of its instances.
    """

    def __init__(self, problem: str, instance: str = "0", render_mode: str | None = None) -> None:
        import pyRDDLGym

        self.render_mode = render_mode
        self._env = pyRDDLGym.make(problem, str(instance), vectorized=True)
        self._allowed = self._env.max_allowed_actions
        # real-valued bounds are only those of a problem's constraints, which its noise may break
        self.observation_space = spaces.Dict(
            {
                name: spaces.Box(-np.inf, np.inf, box.shape, np.float32) if box.dtype == np.float32 else box
                for name, box in self._env.observation_space.spaces.items()
            }
        )
        objects = self._env.model.type_to_objects.values()
        self._index = {name: index for members in objects for index, name in enumerate(members)}
        self._switches = self._env.action_space.spaces
        self._count = sum(int(np.prod(box.shape)) for box in self._switches.values())
        self._one_of_many = self._allowed == 1 and all(
            box.dtype != np.float32 and (box.low == 0).all() and (box.high == 1).all()
            for box in self._switches.values()
        )
        self.action_space = spaces.Discrete(self._count + 1) if self._one_of_many else self._env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, _ = self._env.reset(seed=seed)
        return self._observe(observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self._env.step(self._settings(action))
        return self._observe(observation), float(reward), bool(terminated), bool(truncated), {}

    def _settings(self, action: Any) -> dict[str, np.ndarray]:
        if self._one_of_many:
            flat = np.zeros(self._count + 1, np.int32)
            flat[int(action)] = 1
        elif self._allowed < self._count:
            flat = np.concatenate([np.ravel(action[name]) for name in self._switches])
            default = np.concatenate(
                [
                    np.broadcast_to(self._env._noop_actions[name], box.shape).ravel()
                    for name, box in self._switches.items()
                ]
            )
            beyond = np.flatnonzero(flat != default)[self._allowed :]
            flat[beyond] = default[beyond]
        else:
            flat = np.concatenate([np.ravel(action[name]) for name in self._switches])
        settings, start = {}, 0
        for name, box in self._switches.items():
            size = int(np.prod(box.shape))
            shape = np.shape(self._env._noop_actions[name])  # () where the space says (1,)
            settings[name] = flat[start : start + size].reshape(shape).astype(box.dtype)
            start += size
        return settings

    def _observe(self, observation: dict[str, Any]) -> dict[str, np.ndarray]:
        return {
            name: self._numbers(observation[name]).astype(box.dtype).reshape(box.shape)
            for name, box in self.observation_space.spaces.items()  # type: ignore[attr-defined]
        }

    def _numbers(self, values: np.ndarray) -> np.ndarray:
        """Names of objects become their indices."""
        if values.dtype.kind not in "OUS":
            return values
        return np.vectorize(lambda name: self._index[str(name).lstrip("@")], otypes=[np.int32])(values)
