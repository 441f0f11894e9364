"""A disguised environment."""

from __future__ import annotations

from typing import Any

import gymnasium

from ..spaces import Action, Info, Observation, stack, unflatten
from .disguises import ROLES, PairDisguise


class Disguise(gymnasium.Wrapper):
    """An environment whose actions, coordinates, symbols and letters are exchanged (`environments.disguises`).

    It is as hard as the environment, for those who do not know it: a rule that only the history can tell.

    Args:
        env: the environment.
        seed: seed that the disguise is drawn by; it stays the same in all episodes.
        roles: what is disguised: ``both``, ``observations`` or ``actions``.
    """

    def __init__(self, env: gymnasium.Env, seed: int, roles: ROLES = "both") -> None:
        super().__init__(env)
        self.disguise = PairDisguise(env.observation_space, env.action_space, seed, roles)
        self.observation_space, self.action_space = self.disguise.spaces

    @property
    def spec(self) -> None:  # type: ignore[override]  # a property, as in Gymnasium's own wrapper
        """None: what is known of the environment by its id does not hold for this one."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        return self._disguised(*self.env.reset(seed=seed, options=options))

    def step(self, action: Action) -> tuple[Observation, Any, bool, bool, Info]:
        plain = stack(self.env.action_space, [action])
        action = _single(self.env.action_space, self.disguise.actions.undo(plain))
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation, info = self._disguised(observation, info)
        return observation, reward, terminated, truncated, info

    def disguised_action(self, action: Action) -> Action:
        """The action here that does what ``action`` does in the environment itself."""
        return _single(self.action_space, self.disguise.actions.apply(stack(self.env.action_space, [action])))

    def _disguised(self, observation: Observation, info: Info) -> tuple[Observation, Info]:
        parts = self.disguise.observations.apply(stack(self.env.observation_space, [observation]))
        if "action_mask" in info:
            mask = self.disguise.actions.mask(info["action_mask"])
            info = {name: value for name, value in info.items() if name != "action_mask"}
            info |= {} if mask is None else {"action_mask": mask}
        return _single(self.observation_space, parts), info


def _single(space: gymnasium.Space[object], parts: dict[str, Any]) -> Any:
    """The only member of a batch."""
    return unflatten(space, {path: values[0] for path, values in parts.items()})
