"""Reference policies of isolated environments, which can look into them only in their own process."""

from __future__ import annotations

from typing import Any

import gymnasium

from .base import Reference


class IsolatedReference(Reference):
    """A policy that lives in the worker process of its environment and acts there.

    Its module is imported by the interpreter of the isolated library: it may use that library, Gymnasium, NumPy and `ldm_hf.references.Reference`.

    Args:
        policy: a subclass of `Reference`.
        kwargs: its parameters.
    """

    def __init__(self, policy: type[Reference], kwargs: dict[str, Any]) -> None:
        self.method = policy.method
        self.path, self.kwargs = f"{policy.__module__}:{policy.__qualname__}", kwargs

    def reset(self, env: gymnasium.Env) -> None:
        unwrapped: Any = env.unwrapped
        self.env = unwrapped
        self.env.begin_reference(self.path, self.kwargs)

    def executed(self, action: Any) -> None:
        self.env.executed(action)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return self.env.label()
