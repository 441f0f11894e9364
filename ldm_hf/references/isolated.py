"""Reference policies of isolated environments; they act in the worker process, where they can look into them."""

from __future__ import annotations

import gymnasium

from ..environments.building import Kwargs
from ..environments.isolation import IsolatedEnv
from ..spaces import Action, Info, Observation
from .base import Reference, inside


class IsolatedReference(Reference):
    """A policy that acts in the worker process of its environment.

    The interpreter of the isolated library imports its module, which may use that library, Gymnasium, NumPy and
    `ldm_hf.references.Reference`.

    Args:
        policy: subclass of `Reference`.
        kwargs: parameters of the policy.
    """

    def __init__(self, policy: type[Reference], kwargs: Kwargs) -> None:
        self.method = policy.method
        self.path, self.kwargs = f"{policy.__module__}:{policy.__qualname__}", kwargs

    def reset(self, env: gymnasium.Env) -> None:
        self.env: IsolatedEnv = inside(env)
        self.env.begin_reference(self.path, self.kwargs)

    def executed(self, action: Action) -> None:
        self.env.executed(action)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return self.env.label()
