"""From a row of the catalogue to a Gymnasium environment."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from functools import cache

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ..errors import EnvironmentFailure, LDMError, MissingExtraError
from .catalogue import OWN_NAMESPACE, EnvironmentSpec, get_spec, libraries
from .wrappers import WRAPPERS


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
    entry = libraries().get(library)
    if entry is None:  # a library of the user's, whose ids are registered already
        return
    try:
        with quiet():
            module = importlib.import_module(entry["module"])
            if "register" in entry:
                getattr(module, entry["register"])()
    except ImportError as error:
        raise MissingExtraError(library, extra=entry.get("extra", "envs")) from error


def make(name: str | EnvironmentSpec, render_mode: str | None = None) -> gymnasium.Env:
    """Makes one environment.

    Args:
        name: of the catalogue, a Gymnasium id, or a row.
        render_mode: Gymnasium's.

    Raises:
        UnknownEnvironmentError: if there is none of this name.
        MissingExtraError: if its library is not installed.
        EnvironmentFailure: if the library raises an error of its own.
    """
    spec = get_spec(name) if isinstance(name, str) else name
    _register(spec.library)
    if spec.env_id.startswith(OWN_NAMESPACE):
        _register("ldm_hf")
    try:
        with quiet():
            rendering = (
                {} if render_mode is None else {"render_mode": render_mode}
            )  # some constructors know no such argument
            env = gymnasium.make(
                spec.env_id,
                max_episode_steps=spec.max_episode_steps,
                disable_env_checker=True,
                **rendering,
                **spec.kwargs,
            )
            for wrapper in spec.wrappers:
                env = WRAPPERS[wrapper](env)
        return env
    except LDMError:
        raise
    except Exception as error:  # whatever a foreign library raises is that environment's failure
        raise EnvironmentFailure(spec.name, "make", error) from error


def make_vec(name: str | EnvironmentSpec, num_envs: int) -> SyncVectorEnv:
    """Makes a vector of environments with SAME_STEP autoreset; see `make`."""
    spec = get_spec(name) if isinstance(name, str) else name
    return SyncVectorEnv([lambda: make(spec)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
