"""Steps one environment: roll-outs, collection and `ldm play` all step their environments here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gymnasium

from ..errors import EnvironmentFailure, LDMError
from ..spaces import Action, Info, Observation


class Lane:
    """One environment and what it returned last.

    If the next episode follows at once, ``observation`` and ``info`` are its first, while reward and flags are still
    those of the step that ended the one before (Gymnasium's ``AutoresetMode.SAME_STEP``).

    Args:
        env: the environment.
        name: name of the environment, for messages.

    Attributes:
        seed: seed of the episode.
        observation: current observation.
        info: info that came with the observation.
        reward: reward of the last step; 0 before the first one.
        terminated: termination flag of the last step; False before the first one.
        truncated: truncation flag of the last step; False before the first one.
        active: False once the lane has played all its episodes; its actions are not used.
    """

    def __init__(self, env: gymnasium.Env, name: str = "environment") -> None:
        self.env, self.name = env, name
        self.seed = 0
        self.observation: Observation = None
        self.info: Info = {}
        self.reward, self.terminated, self.truncated = 0.0, False, False
        self.active = True

    def begin(self, seed: int) -> None:
        """Resets the environment with a seed.

        Raises:
            EnvironmentFailure: if the environment fails.
        """
        self.seed = seed
        with self.named("reset"):
            self.observation, self.info = self.env.reset(seed=seed)

    def step(self, action: Action) -> bool:
        """Executes an action; returns whether the episode is over.

        Raises:
            EnvironmentFailure: if the environment fails.
        """
        try:  # not `named`, which costs a microsecond
            self.observation, reward, self.terminated, self.truncated, self.info = self.env.step(action)
            self.reward = float(reward)
        except LDMError:
            raise
        except Exception as error:
            raise self.failure("step", error) from error
        return bool(self.terminated or self.truncated)

    @contextmanager
    def named(self, call: str) -> Iterator[None]:
        """Adds the environment, the call and the seed to errors of a library; an `LDMError` names them already."""
        try:
            yield
        except LDMError:
            raise
        except Exception as error:
            raise self.failure(call, error) from error

    def failure(self, call: str, error: Exception) -> EnvironmentFailure:
        """An error of a library, with the environment, the call and the seed."""
        return EnvironmentFailure(self.name, f"{call} (episode of seed {self.seed})", error)


def open_lane(make_env: Callable[[], gymnasium.Env], name: str) -> Lane:
    """Makes an environment and a lane for it.

    Raises:
        EnvironmentFailure: if it cannot be made.
    """
    try:
        return Lane(make_env(), name)
    except LDMError:
        raise
    except Exception as error:
        raise EnvironmentFailure(name, "make", error) from error
