"""Jumanji: combinatorial problems in JAX."""

from __future__ import annotations

from typing import Any

import gymnasium


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
