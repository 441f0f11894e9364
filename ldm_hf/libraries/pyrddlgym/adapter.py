"""Problems of the planning competitions in RDDL (Sanner 2010), simulated by pyRDDLGym (Taitler et al. 2022)."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.spaces import Action, Arrays, Info


class RDDLEnv(gymnasium.Env):
    """An instance of a problem of rddlrepository; an episode lasts as long as its horizon.

    Where only one of several switches may be set at a time, the action is the number of the switch, or the last
    number for none. Where several may be set, those beyond the allowed number are not set.

    Args:
        problem: name of the problem in rddlrepository.
        instance: name of one of its instances.
        render_mode: not used.
    """

    def __init__(self, problem: str, instance: str = "0", render_mode: str | None = None) -> None:
        import pyRDDLGym

        self.render_mode, self.problem, self.instance = render_mode, problem, str(instance)
        self.simulator = pyRDDLGym.make(problem, self.instance, vectorized=True)
        # bounds of real numbers are only those of a problem's constraints, which its noise may break
        self._seen = {
            name: spaces.Box(-np.inf, np.inf, box.shape, np.float32) if box.dtype == np.float32 else box
            for name, box in self.simulator.observation_space.spaces.items()
        }
        self.observation_space = spaces.Dict(self._seen)
        objects = self.simulator.model.type_to_objects.values()
        self._index = {name: index for members in objects for index, name in enumerate(members)}
        self.allowed = self.simulator.max_allowed_actions
        self._boxes: dict[str, spaces.Box] = self.simulator.action_space.spaces
        noop = self.simulator._noop_actions
        self.low = np.concatenate([box.low.ravel() for box in self._boxes.values()])
        self.high = np.concatenate([box.high.ravel() for box in self._boxes.values()])
        self.defaults = np.concatenate(
            [np.broadcast_to(noop[name], box.shape).ravel() for name, box in self._boxes.items()]
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

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Arrays, Info]:
        observation, _ = self.simulator.reset(seed=seed)
        return self._observe(observation), {}

    def step(self, action: Action) -> tuple[Arrays, float, bool, bool, Info]:
        fluents = self.fluents(self.settings(action))
        settings = {name: values.astype(self._boxes[name].dtype) for name, values in fluents.items()}
        observation, reward, terminated, truncated, _ = self.simulator.step(settings)
        return self._observe(observation), float(reward), bool(terminated), bool(truncated), {}

    def settings(self, action: Action) -> np.ndarray:
        """All action fluents in one row; at most `allowed` of them differ from `defaults`."""
        if self._one_of_many:
            chosen: np.ndarray = np.arange(len(self.low)) == int(action)
            return chosen.astype(np.int32)
        flat: np.ndarray = np.concatenate([np.ravel(action[name]) for name in self._boxes])
        beyond = np.flatnonzero(flat != self.defaults)[self.allowed :]
        flat[beyond] = self.defaults[beyond]
        return flat

    def fluents(self, settings: np.ndarray) -> Arrays:
        """A row of `settings` (also of JAX) as the simulator wants it: by the name of the fluent."""
        return {name: settings[part].reshape(shape) for name, part, shape in self._parts}

    def action(self, settings: np.ndarray) -> Action:
        """The member of the action space that stands for a row of `settings`."""
        if self._one_of_many:
            return np.int64(np.argmax(settings) if settings.any() else len(settings))
        return {
            name: values.reshape(self._boxes[name].shape).astype(self._boxes[name].dtype)
            for name, values in self.fluents(settings).items()
        }

    def _observe(self, observation: Arrays) -> Arrays:
        return {
            name: self._numbers(observation[name]).astype(box.dtype).reshape(box.shape)
            for name, box in self._seen.items()
        }

    def _numbers(self, values: np.ndarray) -> np.ndarray:
        """The values of a fluent, with the names of objects replaced by their indices."""
        if values.dtype.kind not in "OUS":
            return values
        indices = [self._index[str(name).lstrip("@")] for name in values.flat]
        return np.array(indices, np.int32).reshape(values.shape)
