"""What every reference policy is."""

from __future__ import annotations

from typing import Any

import gymnasium

METHODS = ("tabular", "scripted", "heuristic", "planner", "rl")
"""In the order in which they are tried: of increasing cost."""


def inside(env: gymnasium.Env) -> Any:
    """The environment inside of all wrappers, as its library defines it: policies look into what only that library knows."""
    return env.unwrapped


class Reference:
    """A task-specific policy that says at any step what to do, also after other actions than its own.

    Attributes:
        name: what rows call it; None if it is named as ``module:Class`` only.
        method: how it came about, one of `METHODS`.
        worlds: names of the classes of environments that it is meant for, as the libraries call them.
        vectorised: `act` also takes the stacked observations of several environments, and keeps nothing from step to step.
    """

    name: str | None = None
    method = "heuristic"
    worlds: tuple[str, ...] = ()
    vectorised = False

    def __init__(self, env: gymnasium.Env) -> None:
        """Makes the policy; parameters of a subclass come from the row's ``reference_kwargs``.

        Args:
            env: an environment of the kind that it will act in; not the one of the roll-outs.
        """

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        """Whether `ldm reference` should try it in this environment; by default if it is of one of `worlds`."""
        return any(base.__name__ in cls.worlds for base in type(env.unwrapped).__mro__)

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        """Parameters to choose the best of by playing a few episodes; by default there is nothing to choose."""
        return [{}]

    def reset(self, env: gymnasium.Env) -> None:
        """An episode has begun in ``env``."""

    def executed(self, action: Any) -> None:
        """Tells which action was executed, where it was not the one from `act`."""

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        """The action for this step.

        Args:
            env: the environment acted in; a policy may look into ``env.unwrapped``.
            observation: the current one.
            info: that came with it.

        Returns:
            A member of ``env.action_space``.
        """
        raise NotImplementedError
