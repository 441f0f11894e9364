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

        self.render_mode, self.problem, self.instance = render_mode, problem, str(instance)
        self.simulator = pyRDDLGym.make(problem, self.instance, vectorized=True)
        # real-valued bounds are only those of a problem's constraints, which its noise may break
        self.observation_space = spaces.Dict(
            {
                name: spaces.Box(-np.inf, np.inf, box.shape, np.float32) if box.dtype == np.float32 else box
                for name, box in self.simulator.observation_space.spaces.items()
            }
        )
        objects = self.simulator.model.type_to_objects.values()
        self._index = {name: index for members in objects for index, name in enumerate(members)}
        self.allowed = self.simulator.max_allowed_actions
        self._boxes: dict[str, spaces.Box] = self.simulator.action_space.spaces
        noop = self.simulator._noop_actions
        self.low, self.high, self.defaults = (
            np.concatenate([np.broadcast_to(values, box.shape).ravel() for values, box in pairs])
            for pairs in zip(
                *(((box.low, box), (box.high, box), (noop[name], box)) for name, box in self._boxes.items()),
                strict=True,
            )
        )
        self.whole = np.concatenate([np.full(box.low.size, box.dtype != np.float32) for box in self._boxes.values()])
        ends = np.cumsum([box.low.size for box in self._boxes.values()])
        # the shape is () where the space says (1,)
        self._parts = [
            (name, slice(end - box.low.size, end), np.shape(noop[name]))
            for end, (name, box) in zip(ends, self._boxes.items(), strict=True)
        ]
        switches = self.whole.all() and (self.low == 0).all() and (self.high == 1).all()
        self._one_of_many = self.allowed == 1 and switches
        self.action_space = spaces.Discrete(len(self.low) + 1) if self._one_of_many else self.simulator.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, _ = self.simulator.reset(seed=seed)
        return self._observe(observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        settings = {
            name: values.astype(self._boxes[name].dtype)
            for name, values in self.fluents(self.settings(action)).items()
        }
        observation, reward, terminated, truncated, _ = self.simulator.step(settings)
        return self._observe(observation), float(reward), bool(terminated), bool(truncated), {}

    def settings(self, action: Any) -> np.ndarray:
        """All action fluents in one row; no more than `allowed` differ from `defaults`."""
        if self._one_of_many:
            return (np.arange(len(self.low)) == int(action)).astype(np.int32)
        flat = np.concatenate([np.ravel(action[name]) for name in self._boxes])
        beyond = np.flatnonzero(flat != self.defaults)[self.allowed :]
        flat[beyond] = self.defaults[beyond]
        return flat

    def fluents(self, settings: Any) -> dict[str, Any]:
        """The row as the simulator wants it: by the name of the fluent."""
        return {name: settings[part].reshape(shape) for name, part, shape in self._parts}

    def action(self, settings: np.ndarray) -> Any:
        """The member of the action space that says so."""
        if self._one_of_many:
            return np.int64(np.argmax(settings) if settings.any() else len(settings))
        return {
            name: values.reshape(self._boxes[name].shape).astype(self._boxes[name].dtype)
            for name, values in self.fluents(settings).items()
        }

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
