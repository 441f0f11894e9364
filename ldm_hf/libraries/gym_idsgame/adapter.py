"""gym-idsgame's attackers and defenders, which are written for Gym's first API, with spaces that fit what they show."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.environments.wrappers import GlobalRandomState
from ldm_hf.spaces import Action, Info


class IntrusionDetectionEnv(gymnasium.Env):
    """One side of the game; the other one is a bot of the library.

    Args:
        opponent: ``RandomDefense`` or ``MinimalDefense``, which is attacked, ``RandomAttack`` or ``MaximalAttack``.
        version: the library's version of the game: size of the network, rewards.
        render_mode: not used.
    """

    def __init__(self, opponent: str, version: int, render_mode: str | None = None) -> None:
        from gym_idsgame.envs import idsgame_env

        self.game = getattr(idsgame_env, f"IdsGame{opponent}V{version}Env")()
        self.settings = self.game.idsgame_config.game_config
        self.attacks, self.render_mode = opponent.endswith("Defense"), render_mode
        choices = self.settings.num_attack_actions if self.attacks else self.settings.num_defense_actions
        self.action_space = spaces.Discrete(choices)
        first = self._mine(self.game.get_observation())
        self.observation_space = spaces.Box(0.0, float(self.settings.max_value), first.shape, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, Info]:
        return self._mine(self.game.reset()), {}

    def step(self, action: Action) -> tuple[np.ndarray, float, bool, bool, Info]:
        profile = (int(action), -1) if self.attacks else (-2, int(action))  # the bot's choice replaces the other one
        observation, rewards, done, _ = self.game.step(profile)
        return self._mine(observation), float(rewards[0 if self.attacks else 1]), bool(done), False, {}

    def _mine(self, observation: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.asarray(observation[0 if self.attacks else 1], np.float32)


def make_idsgame(opponent: str, version: int, network: int = 0, render_mode: str | None = None) -> gymnasium.Env:
    """Makes a side of the game.

    Args:
        opponent: the library's bot that it plays against.
        version: the library's version of the game.
        network: number of the network: the library draws where its servers are weak when it makes a game.
        render_mode: not used.
    """
    outside = np.random.get_state()
    np.random.seed(network)
    try:
        env = IntrusionDetectionEnv(opponent, version)
    finally:
        np.random.set_state(outside)
    return GlobalRandomState(env)
