"""The table of environments. Adding an environment is adding a row to a file in ``catalogue/``."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium
import yaml

from ..errors import LDMError, UnknownEnvironmentError
from .isolation import is_isolated, pinned_version

FOLDER = Path(__file__).with_name("catalogue")
LIBRARIES = FOLDER / "libraries.yaml"
OWN_NAMESPACE = "ldm_hf/"  # ids that this package registers itself


@dataclass(frozen=True)
class EnvironmentSpec:
    """One row of the catalogue.

    Args:
        name: unique; the config of its dataset.
        env_id: Gymnasium id.
        library: a key of ``libraries.yaml``.
        domain: the file that the row stands in.
        task: one sentence that says what is to be done.
        kwargs: of `gymnasium.make`.
        reference: name of the reference policy, a key of `references.POLICIES`; None if there is none.
        reference_kwargs: its parameters.
        wrappers: applied in order, keys of `wrappers.WRAPPERS`.
        max_episode_steps: time limit, where the library's own is too long or missing.
        max_steps: to collect, where the environment is slow.
        episodes: to measure a policy with at the least, where returns vary much.
    """

    name: str
    env_id: str
    library: str = "gymnasium"
    domain: str = "custom"
    task: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    reference_kwargs: dict[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    max_episode_steps: int | None = None
    max_steps: int | None = None
    episodes: int = 1

    @property
    def licence(self) -> str:
        """Of the library."""
        return libraries().get(self.library, {}).get("licence", "")

    @property
    def version(self) -> str:
        """Of the library as installed; empty if it is not. An isolated one is installed as it is pinned."""
        if is_isolated(self.library):
            return pinned_version(self.library)
        try:
            return metadata.version(self.library)
        except metadata.PackageNotFoundError:
            return ""


@cache
def libraries() -> dict[str, dict[str, str]]:
    """``{distribution: {"module", "licence"[, "register"]}}``: what to import so that a library's ids exist."""
    return yaml.safe_load(LIBRARIES.read_text(encoding="utf-8"))


@cache
def catalogue() -> dict[str, EnvironmentSpec]:
    """All rows by name, domain after domain; then those of the files that ``$LDM_HF_CATALOGUE`` names, for environments of one's own.

    Raises:
        LDMError: if a row of such a file cannot be read.
    """
    own = [Path(path) for path in os.environ.get("LDM_HF_CATALOGUE", "").split(os.pathsep) if path]
    specs: dict[str, EnvironmentSpec] = {}
    for path in [*sorted(FOLDER.glob("*.yaml")), *own]:
        if path == LIBRARIES:
            continue
        try:
            for row in yaml.safe_load(path.read_text(encoding="utf-8")):
                spec = EnvironmentSpec(**({"domain": path.stem} | row | {"wrappers": tuple(row.get("wrappers", ()))}))
                if spec.name in specs:
                    raise ValueError(f"the name {spec.name} stands in the catalogue twice")
                specs[spec.name] = spec
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise LDMError(f"the catalogue {path} cannot be read: {error}") from error
    return specs


def _library_of(env_id: str) -> str:
    """The package that an id which is not in the catalogue comes from; its licence is not known."""
    module, colon, _ = env_id.partition(":")
    if not colon:
        entry_point = gymnasium.spec(env_id).entry_point
        module = entry_point if isinstance(entry_point, str) else getattr(entry_point, "__module__", "")
    return module.partition(":")[0].partition(".")[0]


def get_spec(name: str) -> EnvironmentSpec:
    """The row of this name; a Gymnasium id that is not in the catalogue becomes a row of its own, without reference.

    Raises:
        UnknownEnvironmentError: with the closest names.
    """
    specs = catalogue()
    if name in specs:
        return specs[name]
    if name in gymnasium.registry or ":" in name:  # "module:Id-v0": Gymnasium imports the module first
        return EnvironmentSpec(name.replace("/", "-").replace(":", "-"), env_id=name, library=_library_of(name))
    close = difflib.get_close_matches(name, [*specs, *gymnasium.registry], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UnknownEnvironmentError(
        f"no environment {name!r} in the catalogue or in Gymnasium.{hint} `ldm envs list` shows the catalogue."
    )
