"""The folders of `ldm_hf.libraries`: what a library says of itself and its rows (``rows.yaml``), and what was measured of them (``measured.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from ..errors import LDMError
from ..utils.files import write_atomically

ROOT = Path(__file__).parents[1] / "libraries"
ROWS, MEASURED, REQUIREMENTS = "rows.yaml", "measured.json", "requirements.txt"
OWN_NAMESPACE = "ldm_hf/"  # ids that this package registers itself
Loader = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # every command loads the table: ten times as fast where it exists
Field = Literal["spaces", "scores"]


@dataclass(frozen=True)
class Library:
    """What ``rows.yaml`` says of a library.

    Args:
        library: the distribution, as ``pip`` knows it.
        module: to import so that the library's ids exist.
        licence: as the library's own metadata names it.
        rows: of the catalogue: rows, or groups of ``rows`` with what they share.
        register: function of ``module`` to call so that the ids exist, where the import alone does not do it.
        extra: of this package's, which installs the library.
        requires: what that extra asks for; an isolated library has ``requirements.txt`` instead.
        ids: ``{Name-v0: {entry_point, max_episode_steps}}``, ids that this package adds under ``ldm_hf/``; an entry point is
            ``file:attribute`` in the folder.
        wrappers: ``{name: entry point}``, wrappers that rows may name.
    """

    library: str
    module: str
    licence: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    register: str | None = None
    extra: str = "envs"
    requires: tuple[str, ...] = ()
    ids: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    wrappers: Mapping[str, str] = field(default_factory=dict)

    @property
    def entry(self) -> dict[str, Any]:
        """What `building.import_library` imports."""
        return {"module": self.module} | ({"register": self.register} if self.register else {})

    @property
    def additions(self) -> dict[str, Any]:
        """The ids and wrappers of the folder, as `building.import_library` registers them."""
        package = f"ldm_hf.libraries.{folder_of(self.library).name}"
        ids = {
            f"{OWN_NAMESPACE}{name}": told | {"entry_point": f"{package}.{told['entry_point']}"}
            for name, told in self.ids.items()
        }
        return {"ids": ids, "wrappers": {name: f"{package}.{path}" for name, path in self.wrappers.items()}}


def folder_of(library: str) -> Path:
    """The folder of a library, whether there is one or not: ``highway-env`` has ``highway_env``."""
    return ROOT / library.lower().replace("-", "_")


@cache
def libraries() -> dict[str, Library]:
    """All libraries that have a folder, by the name of their distribution.

    Raises:
        LDMError: if a ``rows.yaml`` cannot be read.
    """
    found = {}
    for path in sorted(ROOT.glob(f"*/{ROWS}")):
        library = read_library(path)
        found[library.library] = library
    return found


def read_library(path: Path) -> Library:
    """What a ``rows.yaml`` says.

    Raises:
        LDMError: if it cannot be read.
    """
    try:
        told = yaml.load(path.read_text(encoding="utf-8"), Loader)
        return Library(**told | {"requires": tuple(told.get("requires", ()))})
    except (OSError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise LDMError(f"the library {path} cannot be read: {error}") from error


def additions() -> dict[str, Any]:
    """The ids and wrappers that all folders add, as `building.import_library` registers them."""
    merged: dict[str, Any] = {"ids": {}, "wrappers": {}}
    for library in libraries().values():
        for kind, told in library.additions.items():
            merged[kind] |= told
    return merged


@cache
def measured(kind: Field) -> dict[str, Any]:
    """What the folders have recorded, by the name of the environment.

    Args:
        kind: ``spaces``, the observation and the action space in short; ``scores``, see `references.scores.reference_scores`.

    Raises:
        LDMError: if a file cannot be read.
    """
    found: dict[str, Any] = {}
    for path in sorted(ROOT.glob(f"*/{MEASURED}")):
        found |= _read(path)[kind]
    return found


def save_measured(kind: Field, library: str, found: Mapping[str, Any]) -> None:
    """Adds to what the folder of a library has recorded, one line an environment; what it says of other environments stays.

    Raises:
        LDMError: if there is no folder for the library, or its file cannot be read.
    """
    folder = folder_of(library)
    if not folder.is_dir():
        raise LDMError(f"{library} has no folder in {ROOT}, so nothing can be recorded of its environments")
    told = _read(folder / MEASURED)
    told[kind] |= found
    parts = []
    for name, entries in told.items():
        lines = [f"{json.dumps(key)}: {json.dumps(entries[key], allow_nan=False)}" for key in sorted(entries)]
        parts.append(f'"{name}": {{\n' + ",\n".join(lines) + "\n}")
    write_atomically(folder / MEASURED, "{\n" + ",\n".join(parts) + "\n}\n")
    measured.cache_clear()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    empty: dict[str, dict[str, Any]] = {"spaces": {}, "scores": {}}
    if not path.exists():
        return empty
    try:
        return empty | json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError) as error:
        raise LDMError(f"{path} cannot be read: {error}; restore it, or remove it and measure again") from error
