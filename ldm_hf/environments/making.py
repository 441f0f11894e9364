"""Makes Gymnasium environments of the rows of the catalogue."""

from __future__ import annotations

import contextlib
import contextvars
import io
import logging
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from ..errors import EnvironmentFailure, LDMError, MissingExtraError
from ..utils import guarding
from ..utils.guarding import INTERRUPTS
from .building import BuildArguments, build, import_library
from .isolation import IsolatedEnv, IsolatedVectorEnv, Recipe, is_isolated, python_of
from .library_folders import additions, libraries
from .specs import EnvironmentSpec, get_spec


class _Silence:
    """Where the process's output goes while any thread is in `quiet`.

    Streams and filters are the whole process's: the first thread to come puts them aside, the last one to go puts them
    back. If each did so, one would put back what another had put there, and the process would be silent for ever.
    """

    def __init__(self) -> None:
        self.lock, self.threads, self.aside = threading.Lock(), 0, contextlib.ExitStack()

    def enter(self) -> None:
        with self.lock:
            self.threads += 1
            if self.threads == 1:
                self.aside.enter_context(warnings.catch_warnings())
                self.aside.enter_context(contextlib.redirect_stdout(io.StringIO()))
                self.aside.enter_context(contextlib.redirect_stderr(io.StringIO()))
                self.aside.callback(logging.root.setLevel, logging.root.level)
                warnings.simplefilter("ignore")

    def leave(self) -> None:
        with self.lock:
            self.threads -= 1
            if self.threads == 0:
                self.aside.close()


_SILENCE = _Silence()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses what libraries print and warn while they are imported, and undoes the warning filters they set."""
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()


@cache
def _register(library: str) -> None:
    """Imports a library, so that its ids exist.

    Raises:
        MissingExtraError: if it is not installed.
    """
    known = libraries().get(library)
    if known is None:  # the user's own library, whose ids are registered already
        return
    try:
        with quiet():
            contextvars.copy_context().run(import_library, known.registration)
    except ImportError as error:
        raise MissingExtraError(library, extra=known.extra) from error


@cache
def register_additions() -> None:
    """Registers the ids and wrappers that the folders of libraries add."""
    import_library(additions())


def _arguments(spec: EnvironmentSpec, render_mode: str | None) -> BuildArguments:
    """The arguments of `build` for a row."""
    return {
        "env_id": spec.env_id,
        "kwargs": spec.kwargs,
        "max_episode_steps": spec.max_episode_steps,
        "wrappers": list(spec.wrappers),
        "render_mode": render_mode,
    }


def recipe_of(spec: EnvironmentSpec, python: Path, render_mode: str | None = None) -> Recipe:
    """What a worker under another interpreter needs to know to make an environment."""
    known = libraries().get(spec.library)
    registrations = [additions(), *([known.registration] if known else [])]
    return Recipe(spec.name, python, _arguments(spec, render_mode), registrations)


def make(name: str | EnvironmentSpec, render_mode: str | None = None) -> gymnasium.Env:
    """Makes one environment; one of an isolated library runs in its own process and behaves the same.

    Args:
        name: name in the catalogue, Gymnasium id, or row.
        render_mode: render mode of Gymnasium, such as ``rgb_array``.

    Raises:
        UnknownEnvironmentError: if there is none of this name.
        MissingExtraError: if its library is not installed.
        NotInstalledError: if its library is isolated and its virtual environment has not been made.
        EnvironmentFailure: if the library raises an error.
    """
    spec = get_spec(name) if isinstance(name, str) else name
    if is_isolated(spec.library):
        return IsolatedEnv(recipe_of(spec, python_of(spec.library), render_mode))
    register_additions()
    _register(spec.library)
    try:
        with quiet():
            # in a context of its own: NumPy's error state stays as it is
            return contextvars.copy_context().run(build, **_arguments(spec, render_mode))
    except (LDMError, *INTERRUPTS):
        raise
    except BaseException as error:  # whatever the library raises is a failure of this environment
        raise EnvironmentFailure(spec.name, "make", error) from error


@contextlib.contextmanager
def opened(name: str | EnvironmentSpec) -> Iterator[gymnasium.Env]:
    """An environment that is closed when the block ends, see `make`; an error in its ``close`` loses nothing."""
    env = make(name)
    try:
        yield env
    finally:
        guarding.close(env, name if isinstance(name, str) else name.name)


def make_vec(name: str | EnvironmentSpec, num_envs: int) -> VectorEnv:
    """Makes a vector of environments with SAME_STEP autoreset; see `make`."""
    spec = get_spec(name) if isinstance(name, str) else name
    if is_isolated(spec.library):
        return IsolatedVectorEnv(recipe_of(spec, python_of(spec.library)), num_envs)
    return SyncVectorEnv([lambda: make(spec)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
