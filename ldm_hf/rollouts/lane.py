"""Steps one environment: roll-outs, collection and `ldm play` all step their environments here."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import gymnasium
import numpy as np

from ..errors import EnvironmentFailure, LDMError, RewardError, SpaceMismatchError
from ..spaces import Action, Info, Observation
from ..utils import guarding
from ..utils.guarding import INTERRUPTS
from .watching import Watch

LARGEST = float(np.finfo(np.float32).max)  # rewards are stored, and given to models, with 32 bits


class Lane:
    """One environment and what it returned last; the one place that guards against what an environment may do.

    If the next episode follows at once, ``observation`` and ``info`` are its first, while reward and flags are still
    those of the step that ended the one before (Gymnasium's ``AutoresetMode.SAME_STEP``).

    Whatever the environment raises, `SystemExit` included, is an `EnvironmentFailure` that names it and the seed of the
    episode; so is a reward that is no finite number of 32 bits, and a flag that is no truth value. NumPy's error state
    is the environment's own. If it forks and the child comes back from the call, the child ends.

    Args:
        env: the environment.
        name: name of the environment, for messages.
        watched: whether observations are compared with their space, many at a time, see `Watch`.

    Attributes:
        seed: seed of the episode.
        observation: current observation.
        info: info that came with the observation.
        reward: reward of the last step; 0 before the first one.
        terminated: termination flag of the last step; False before the first one.
        truncated: truncation flag of the last step; False before the first one.
        active: False once the lane has played all its episodes; its actions are not used.
    """

    def __init__(self, env: gymnasium.Env, name: str = "environment", watched: bool = True) -> None:
        self.env, self.name = env, name
        self.seed = 0
        self.observation: Observation = None
        self.info: Info = {}
        self.reward, self.terminated, self.truncated = 0.0, False, False
        self.active = True
        self._watch: Watch | None = Watch(name) if watched else None
        self._run, self._generation = contextvars.copy_context().run, guarding.generation

    def begin(self, seed: int) -> None:
        """Resets the environment with a seed.

        Raises:
            EnvironmentFailure: if the environment fails.
        """
        self.seed = seed
        with self.named("reset"):
            answer = self._run(self.env.reset, seed=seed)
            if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], dict):
                raise EnvironmentFailure(
                    self.name, "reset", f"(observation, info) expected, got {answer!r:.200}", seed
                )
            self.observation, self.info = answer
            if self._watch:
                self._watch.begin(self.env.observation_space, seed)
                self._watch.add(self.observation)

    def step(self, action: Action) -> bool:
        """Executes an action; returns whether the episode is over.

        Raises:
            EnvironmentFailure: if the environment fails.
            RewardError: if the reward is NaN, infinite or beyond 32 bits.
        """
        try:  # not `named`, which costs a microsecond
            self.observation, reward, terminated, truncated, self.info = self._run(self.env.step, action)
            if self._watch:
                self._watch.add(self.observation)
        except BaseException as error:
            self.fail("step", error)
        if self._generation != guarding.generation:
            os._exit(1)
        value = reward if type(reward) is float else self._number(reward)
        if not -LARGEST <= value <= LARGEST:
            problem = f"the reward for action {action!s:.100} is {value}, no finite number of 32 bits"
            raise RewardError(self.name, "step", problem, self.seed)
        if type(terminated) is not bool or type(truncated) is not bool:
            terminated, truncated = self._flag("terminated", terminated), self._flag("truncated", truncated)
        self.reward, self.terminated, self.truncated = value, terminated, truncated
        return terminated or truncated

    def check(self) -> None:
        """Compares the observations that have not been compared yet with their space.

        Raises:
            EnvironmentFailure: if one is outside; names the leaf, the episode and the step.
        """
        if self._watch:
            self._watch.check()

    def close(self) -> None:
        """Closes the environment; an error loses nothing."""
        guarding.close(self.env, self.name)

    @contextmanager
    def named(self, call: str) -> Iterator[None]:
        """Adds the environment, the call and the seed to errors of a library; an `LDMError` names them already."""
        try:
            yield
        except BaseException as error:
            self.fail(call, error)
        if self._generation != guarding.generation:
            os._exit(1)

    def fail(self, call: str, error: BaseException) -> NoReturn:
        """Raises an error of a library again, with the environment, the call and the seed of the episode."""
        if self._generation != guarding.generation:
            os._exit(1)  # a child of the environment's fork; the parent goes on
        if isinstance(error, SpaceMismatchError):  # a value that was to be taken apart
            raise EnvironmentFailure(self.name, call, str(error), self.seed) from error
        if isinstance(error, EnvironmentFailure) and error.seed is None:  # of an isolated environment
            error.seed = self.seed
        if isinstance(error, (LDMError, *INTERRUPTS)):
            raise error
        raise EnvironmentFailure(self.name, call, error, self.seed) from error

    def _number(self, reward: object) -> float:
        """The reward as a float."""
        try:
            if isinstance(reward, str | bytes):
                raise TypeError("a text")
            return float(reward)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            problem = f"the reward is {reward!r:.100} ({type(reward).__name__}), a number expected"
            raise EnvironmentFailure(self.name, "step", problem, self.seed) from None

    def _flag(self, field: str, value: object) -> bool:
        """A flag as a bool."""
        flag = np.asarray(value)
        if flag.size != 1 or flag.dtype.kind not in "biuf" or not np.isfinite(flag).all():
            problem = f"{field} is {value!r:.100} ({type(value).__name__}), True or False expected"
            raise EnvironmentFailure(self.name, "step", problem, self.seed)
        return bool(flag.any())


def open_lane(make_env: Callable[[], gymnasium.Env], name: str) -> Lane:
    """Makes an environment and a lane for it.

    Raises:
        EnvironmentFailure: if it cannot be made.
    """
    try:
        return Lane(make_env(), name)
    except (LDMError, *INTERRUPTS):
        raise
    except BaseException as error:
        raise EnvironmentFailure(name, "make", error) from error
