"""The table of environments: one row an environment, in the ``rows.yaml`` of its library's folder.

An entry of ``rows`` is a row, or a group: ``rows`` and, beside it, what all of them share.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium
import yaml

from ..errors import LDMError, UnknownEnvironmentError
from ..hashing import key
from .isolation import is_isolated, pinned_version
from .library_folders import OWN_NAMESPACE, ROWS, Loader, folder_of, libraries, measured

OPENENV = "openenv:"  # before the address of a running server


@dataclass(frozen=True)
class EnvironmentSpec:
    """One row of the catalogue.

    Args:
        name: unique; the config of its dataset.
        env_id: Gymnasium id; in a file, the name by default.
        library: the distribution that it comes from.
        domain: what its score is counted in: control, energy, robotics, ...
        task: one sentence that says what is to be done.
        kwargs: of `gymnasium.make`.
        reference: the `name` of its reference policy, ``module:Class``, or ``rl``; None if there is none.
        reference_kwargs: its parameters.
        wrappers: applied in order; names of `wrappers.WRAPPERS` or of those that a library's folder adds.
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
        known = libraries().get(self.library)
        return known.licence if known else ""

    @property
    def expected_spaces(self) -> tuple[str, str] | None:
        """Observation and action space in short, as `ldm envs check --record` has found them; None if it never did."""
        found = measured("spaces").get(self.name)
        return None if found is None else (found[0], found[1])

    @property
    def version(self) -> str:
        """Of the library as installed; empty if it is not. An isolated one is installed as it is pinned."""
        if is_isolated(self.library):
            return pinned_version(self.library)
        try:
            return metadata.version(self.library)
        except metadata.PackageNotFoundError:
            return ""


def expand(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a file, each with what its group says of all of its rows; ``kwargs`` of both are joined."""
    rows = []
    for entry in entries:
        shared = {field: value for field, value in entry.items() if field != "rows"}
        for row in entry.get("rows", [{}]):
            joined = {
                field: shared[field] | row[field]
                for field in ("kwargs", "reference_kwargs")
                if field in shared and field in row
            }
            rows.append(shared | row | joined)
    return rows


@cache
def catalogue() -> dict[str, EnvironmentSpec]:
    """All rows by name, library after library; then those of the files that ``$LDM_HF_CATALOGUE`` names, for environments of one's own.

    Raises:
        LDMError: if a file cannot be read.
    """
    specs: dict[str, EnvironmentSpec] = {}
    for library in libraries().values():
        _add(specs, folder_of(library.library) / ROWS, library.rows, {"library": library.library})
    for name in os.environ.get("LDM_HF_CATALOGUE", "").split(os.pathsep):
        if name:
            path = Path(name)
            try:
                entries = yaml.load(path.read_text(encoding="utf-8"), Loader)
            except (OSError, ValueError, yaml.YAMLError) as error:
                raise LDMError(f"the catalogue {path} cannot be read: {error}") from error
            _add(specs, path, entries, {"domain": path.stem})
    return specs


def _add(specs: dict[str, EnvironmentSpec], path: Path, entries: Any, defaults: dict[str, Any]) -> None:
    try:
        for row in expand(entries):
            given = defaults | {"env_id": row.get("name", "")} | row
            spec = EnvironmentSpec(**given | {"wrappers": tuple(row.get("wrappers", ()))})
            if spec.name in specs:
                raise ValueError(f"the name {spec.name} stands in the catalogue twice")
            specs[spec.name] = spec
    except (ValueError, TypeError, AttributeError) as error:
        raise LDMError(f"the catalogue {path} cannot be read: {error}") from error


def _library_of(env_id: str) -> str:
    """The package that an id which is not in the catalogue comes from; its licence is not known."""
    module, colon, _ = env_id.partition(":")
    if not colon:
        entry_point = gymnasium.spec(env_id).entry_point
        module = entry_point if isinstance(entry_point, str) else getattr(entry_point, "__module__", "")
    return module.partition(":")[0].partition(".")[0]


def get_spec(name: str) -> EnvironmentSpec:
    """The row of this name; a Gymnasium id that is not in the catalogue, or ``openenv:`` and the address of a server, becomes a row of its own, without reference.

    Raises:
        UnknownEnvironmentError: with the closest names.
    """
    specs = catalogue()
    if name in specs:
        return specs[name]
    if name.startswith(OPENENV):
        url = name.removeprefix(OPENENV)
        plain = re.sub(r"\W+", "-", url.partition("://")[2]).strip("-")
        return EnvironmentSpec(f"openenv-{plain}", f"{OWN_NAMESPACE}OpenEnv-v0", "openenv-core", kwargs={"url": url})
    if name in gymnasium.registry or ":" in name:  # "module:Id-v0": Gymnasium imports the module first
        return EnvironmentSpec(name.replace("/", "-").replace(":", "-"), env_id=name, library=_library_of(name))
    close = difflib.get_close_matches(name, [*specs, *gymnasium.registry], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UnknownEnvironmentError(
        f"no environment {name!r} in the catalogue or in Gymnasium.{hint} `ldm envs list` shows the catalogue."
    )


def select(ids: Sequence[str] | None, domain: str | None = None, library: str | None = None) -> list[EnvironmentSpec]:
    """Rows of the catalogue.

    Args:
        ids: names or Gymnasium ids, also several in one string, separated by commas; all rows if there are none.
        domain: only rows of this domain.
        library: only rows of this library.

    Raises:
        UnknownEnvironmentError: if there is none of a name, or none that fits.
    """
    names = [name for part in ids or [] for name in part.split(",")]
    rows = [get_spec(name) for name in names] or list(catalogue().values())
    chosen = [row for row in rows if domain in (None, row.domain) and library in (None, row.library)]
    if not chosen:
        raise UnknownEnvironmentError(
            f"no environment of domain {domain} and library {library}; `ldm envs list` shows the catalogue"
        )
    return chosen


def split(
    specs: Sequence[EnvironmentSpec], library: str | None, share: float, seed: int, kept: Collection[str] = ()
) -> tuple[list[EnvironmentSpec], list[EnvironmentSpec]]:
    """Environments to train on, and environments held out to see how a model does in those that it never saw.

    Whether one is held out depends on its name and the seed alone, so that it stays so while the catalogue grows.

    Args:
        specs: to be split.
        library: held out as a whole.
        share: of the other environments that is held out, about.
        seed: of the draw.
        kept: names of environments that are never held out.

    Returns:
        Those to train on, those held out.
    """
    held_out = [
        spec
        for spec in specs
        if spec.name not in kept and (spec.library == library or key("held out", seed, spec.name) < share * 2**63)
    ]
    names = {spec.name for spec in held_out}
    return [spec for spec in specs if spec.name not in names], held_out


def fingerprint(spec: EnvironmentSpec) -> str:
    """Changes with everything that `make` reads of a row, and with the version of its library."""
    row = asdict(spec)
    parts = [row[field] for field in ("env_id", "library", "kwargs", "wrappers", "max_episode_steps")]
    return f"{key(json.dumps(parts, sort_keys=True), spec.version):x}"
