"""What competes in a training: one configuration that learns for a while, acts, and learns on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...environments import EnvironmentSpec, make
from ...utils.guarding import close
from .algorithms import Configuration, make_model
from .policy import ReinforcementLearned, normalisation
from .spaces import Adapted, Adapter

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy
    from stable_baselines3.common.vec_env import VecEnv


class Learner(Protocol):
    """One configuration in training."""

    @property
    def steps(self) -> int:
        """Number of environment steps so far."""

    def learn(self) -> None:
        """Learns for a moment, so short that the caller can keep to its time."""

    def reference(self) -> ReinforcementLearned:
        """The policy as it is now."""

    def close(self) -> None:
        """Closes the environments."""


class Descent:
    """An algorithm of Stable-Baselines3 or sb3-contrib.

    Args:
        spec: row of the catalogue.
        adapter: adapter of the environment.
        configuration: algorithm and settings.
        seed: seed of the networks and the exploration.
    """

    def __init__(self, spec: EnvironmentSpec, adapter: Adapter, configuration: Configuration, seed: int) -> None:
        self.spec, self.adapter = spec, adapter
        self.vector = _vector(spec, adapter, configuration)
        self.model = make_model(configuration, adapter, self.vector, seed)
        self.per_update = configuration["n_envs"] * configuration.get("n_steps", 125)

    @property
    def steps(self) -> int:
        return int(self.model.num_timesteps)

    def learn(self) -> None:
        self.model.learn(self.per_update, reset_num_timesteps=False)

    def policy(self) -> BasePolicy:
        """The networks, in PyTorch, as they are now."""
        self.model.policy.set_training_mode(False)
        return self.model.policy

    def reference(self) -> ReinforcementLearned:
        return ReinforcementLearned(self.policy(), self.adapter, *normalisation(self.model))

    def close(self) -> None:
        close(self.vector, self.spec.name)


def _vector(spec: EnvironmentSpec, adapter: Adapter, configuration: Configuration) -> VecEnv:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    vector: VecEnv = DummyVecEnv([lambda: Monitor(Adapted(make(spec), adapter))] * configuration["n_envs"])
    if configuration["normalize"]:
        on_policy = configuration["algorithm"] == "ppo"  # a replay buffer would mix rewards of several scales
        vector = VecNormalize(vector, norm_reward=on_policy, gamma=configuration["gamma"])
    return vector
