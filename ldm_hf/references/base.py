"""The contract of reference policies."""

from __future__ import annotations

from typing import Any

import gymnasium

from ..environments.building import Kwargs
from ..spaces import Action, Info, Observation
from .tuning import Tunable

METHODS = ("tabular", "scripted", "heuristic", "planner", "rl")
"""How a policy may have come about, in the order of increasing cost in which `ldm reference` tries them."""


def inside(env: gymnasium.Env) -> Any:
    """The library's own object inside all wrappers, whose attributes no type describes: policies look into it."""
    return env.unwrapped


class Reference:
    """A task-specific policy that chooses an action at any step, also after other actions than its own.

    Attributes:
        name: name that rows use; None if rows name the policy by ``module:Class`` only.
        method: how the policy came about, one of `METHODS`.
        worlds: class names of the environments that it is meant for.
        vectorised: whether `act` also takes the stacked observations of several environments, and keeps no state
            between steps.
        searches: how many sets of its parameters `ldm reference --tune` tries.
        twice: first steps of an episode whose rewards count twice in that search: faster is better.
    """

    name: str | None = None
    method = "heuristic"
    worlds: tuple[str, ...] = ()
    vectorised = False
    searches = 70
    twice = 0

    def __init__(self, env: gymnasium.Env) -> None:
        """Makes the policy; parameters of a subclass come from the row's ``reference_kwargs``.

        Args:
            env: environment like the one that the policy will act in; not the one of the roll-outs.
        """

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        """Whether `ldm reference` should try the policy in this environment; by default, if it is one of `worlds`."""
        return any(base.__name__ in cls.worlds for base in type(env.unwrapped).__mro__)

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[Kwargs]:
        """Sets of parameters, of which a few episodes choose the best; by default there is nothing to choose."""
        return [{}]

    @classmethod
    def tunable(cls, env: gymnasium.Env) -> Tunable:
        """Parameters for which `ldm reference --tune` searches; by default none."""
        return {}

    def reset(self, env: gymnasium.Env) -> None:
        """Prepares for an episode that has begun in ``env``."""

    def executed(self, action: Action) -> None:
        """Learns which action was executed, where it was not the one from `act`."""

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        """Chooses the action for this step.

        Args:
            env: environment that the policy acts in; the policy may look into it, see `inside`.
            observation: current observation.
            info: info that came with the observation.

        Returns:
            A member of ``env.action_space``.
        """
        raise NotImplementedError
