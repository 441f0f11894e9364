"""From a row of the catalogue to a Gymnasium environment."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from ..errors import EnvironmentFailure, LDMError, MissingExtraError
from .building import build, import_library
from .isolation import IsolatedEnv, IsolatedVectorEnv, Recipe, is_isolated, python_of
from .library_folders import additions, libraries
from .specs import EnvironmentSpec, get_spec


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what libraries print and warn while they are imported, and the warning filters they set, out of ours."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        level = logging.root.level
        try:
            yield
        finally:
            logging.root.setLevel(level)


@cache
def _register(library: str) -> None:
    """Imports a library, so that its ids exist.

    Raises:
        MissingExtraError: if it is not installed.
    """
    known = libraries().get(library)
    if known is None:  # a library of the user's, whose ids are registered already
        return
    try:
        with quiet():
            import_library(known.entry)
    except ImportError as error:
        raise MissingExtraError(library, extra=known.extra) from error


@cache
def register_own() -> None:
    """Registers the ids and wrappers that the folders of libraries add."""
    import_library(additions())


def _row(spec: EnvironmentSpec, render_mode: str | None) -> dict[str, Any]:
    """Arguments of `build`."""
    return {
        "env_id": spec.env_id,
        "kwargs": spec.kwargs,
        "max_episode_steps": spec.max_episode_steps,
        "wrappers": list(spec.wrappers),
        "render_mode": render_mode,
    }


def recipe_of(spec: EnvironmentSpec, python: Path, render_mode: str | None = None) -> Recipe:
    """What a worker under another interpreter has to know to make an environment."""
    known = libraries().get(spec.library)
    entries = [additions(), *([known.entry] if known else [])]
    return Recipe(spec.name, python, _row(spec, render_mode), entries)


def make(name: str | EnvironmentSpec, render_mode: str | None = None) -> gymnasium.Env:
    """Makes one environment; that of an isolated library runs in a process of its own and behaves the same.

    Args:
        name: of the catalogue, a Gymnasium id, or a row.
        render_mode: Gymnasium's.

    Raises:
        UnknownEnvironmentError: if there is none of this name.
        MissingExtraError: if its library is not installed.
        NotInstalledError: if its library is isolated and its virtual environment has not been made.
        EnvironmentFailure: if the library raises an error of its own.
    """
    spec = get_spec(name) if isinstance(name, str) else name
    if is_isolated(spec.library):
        return IsolatedEnv(recipe_of(spec, python_of(spec.library), render_mode))
    register_own()
    _register(spec.library)
    try:
        with quiet():
            return build(**_row(spec, render_mode))
    except LDMError:
        raise
    except Exception as error:  # whatever a foreign library raises is that environment's failure
        raise EnvironmentFailure(spec.name, "make", error) from error


def make_vec(name: str | EnvironmentSpec, num_envs: int) -> VectorEnv:
    """Makes a vector of environments with SAME_STEP autoreset; see `make`."""
    spec = get_spec(name) if isinstance(name, str) else name
    if is_isolated(spec.library):
        return IsolatedVectorEnv(recipe_of(spec, python_of(spec.library)), num_envs)
    return SyncVectorEnv([lambda: make(spec)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
