"""From the fields of a row to a Gymnasium environment. Light on purpose: workers of isolated libraries import it under other interpreters."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import gymnasium

from .wrappers import WRAPPERS


def import_library(entry: dict[str, str]) -> None:
    """Imports what an entry of ``libraries.yaml`` names, so that its ids exist."""
    module = importlib.import_module(entry["module"])
    if "register" in entry:
        getattr(module, entry["register"])()


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
    for wrapper in wrappers:
        env = WRAPPERS[wrapper](env)
    return env
