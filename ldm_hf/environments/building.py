"""Makes a Gymnasium environment of the fields of a row.

Light on purpose: the workers of isolated libraries import this module under other interpreters.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, TypedDict

import gymnasium

from .wrappers import WRAPPERS

NAMESPACE = "ldm_hf/"  # ids that this package registers itself
Kwargs = dict[str, Any]
"""Keyword arguments of an environment or a policy, with values that JSON can hold."""


class AddedId(TypedDict, total=False):
    """An id that this package registers in addition to those of the libraries.

    Attributes:
        entry_point: ``module:attribute`` that makes the environment; ``file:attribute`` in ``rows.yaml``.
        max_episode_steps: time limit.
    """

    entry_point: str
    max_episode_steps: int


class Registration(TypedDict, total=False):
    """What makes ids and wrappers known, see `import_library`.

    Attributes:
        module: module to import.
        register: function of ``module`` to call after the import.
        ids: arguments of `gymnasium.register` by id.
        wrappers: ``module:attribute`` of each wrapper, by the name that rows use.
    """

    module: str
    register: str
    ids: dict[str, AddedId]
    wrappers: dict[str, str]


class BuildArguments(TypedDict):
    """The arguments of `build`."""

    env_id: str
    kwargs: Kwargs
    max_episode_steps: int | None
    wrappers: list[str]
    render_mode: str | None


def import_library(registration: Registration) -> None:
    """Makes the ids and wrappers of a registration known; each part of it may be missing."""
    if "module" in registration:
        module = importlib.import_module(registration["module"])
        if "register" in registration:
            getattr(module, registration["register"])()
    for name, arguments in registration.get("ids", {}).items():
        if name not in gymnasium.registry:
            gymnasium.register(name, **arguments)
    WRAPPERS.update(registration.get("wrappers", {}))


def build(
    env_id: str,
    kwargs: Kwargs,
    max_episode_steps: int | None = None,
    wrappers: Sequence[str] = (),
    render_mode: str | None = None,
) -> gymnasium.Env:
    """Makes an environment whose id is registered; the arguments are those of `EnvironmentSpec`."""
    rendering = {} if render_mode is None else {"render_mode": render_mode}  # some constructors know no such argument
    env = gymnasium.make(env_id, max_episode_steps=max_episode_steps, disable_env_checker=True, **rendering, **kwargs)
    for name in wrappers:
        wrapper = WRAPPERS[name]
        if isinstance(wrapper, str):
            module, _, attribute = wrapper.partition(":")
            wrapper = WRAPPERS[name] = getattr(importlib.import_module(module), attribute)
        env = wrapper(env)
    return env
