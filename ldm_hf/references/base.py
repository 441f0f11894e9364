"""What every reference policy is."""

from __future__ import annotations

from typing import Any

import gymnasium


class Reference:
    """A task-specific policy that says at any step what to do, also after other actions than its own.

    Attributes:
        method: how it came about: tabular, scripted, heuristic, planner or rl.
    """

    method = "heuristic"

    def __init__(self, env: gymnasium.Env) -> None:
        """Makes the policy; parameters of a subclass come from the row's ``reference_kwargs``.

        Args:
            env: an environment of the kind that it will act in; not the one of the roll-outs.
        """

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
