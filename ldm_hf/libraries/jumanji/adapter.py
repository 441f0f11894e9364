"""The combinatorial problems of Jumanji (Bonnet et al. 2024) as Gymnasium environments."""

from __future__ import annotations

import gymnasium

from ldm_hf.spaces import Action, Info, Observation


class Jumanji(gymnasium.Env):
    """A problem of Jumanji whose episodes end in one way only, terminated or truncated.

    Where the action is one choice, infos say which actions are legal.

    Args:
        env_id: name of the problem in the library.
        render_mode: not used.
    """

    def __init__(self, env_id: str, render_mode: str | None = None) -> None:
        import jumanji
        from jumanji.wrappers import JumanjiToGymWrapper

        self.env = JumanjiToGymWrapper(jumanji.make(env_id))
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Observation, Info]:
        observation, info = self.env.reset(seed=seed)
        return self._inside(observation), self._with_mask(info, observation)

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = self._with_mask(info, observation)
        return self._inside(observation), reward, terminated, truncated and not terminated, info

    def _inside(self, observation: Observation) -> Observation:
        """Brings numbers of a choice into their space: Snake counts one step more than its space has."""
        assert isinstance(self.observation_space, gymnasium.spaces.Dict)
        for name, space in self.observation_space.spaces.items():
            if isinstance(space, gymnasium.spaces.Discrete):
                observation[name] = observation[name].clip(space.start, space.start + space.n - 1)
        return observation

    def _with_mask(self, info: Info, observation: Observation) -> Info:
        if isinstance(self.action_space, gymnasium.spaces.Discrete) and "action_mask" in observation:
            return {**info, "action_mask": observation["action_mask"]}
        return info
