"""From the fields of a row to a Gymnasium environment. Light on purpose: workers of isolated libraries import it under other interpreters."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import gymnasium

from .wrappers import WRAPPERS


def import_library(entry: dict[str, Any]) -> None:
    """Makes ids and wrappers known.

    Args:
        entry: ``module`` to import and the function of it to call (``register``), as far as there are any; ``ids``, arguments of
            `gymnasium.register` by id, and ``wrappers``, ``module:attribute`` by name.
    """
    if "module" in entry:
        module = importlib.import_module(entry["module"])
        if "register" in entry:
            getattr(module, entry["register"])()
    for name, arguments in entry.get("ids", {}).items():
        if name not in gymnasium.registry:
            gymnasium.register(name, **arguments)
    WRAPPERS.update(entry.get("wrappers", {}))


def build(
    env_id: str,
    kwargs: dict[str, Any],
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
