"""The catalogue of environments: one row for each, in the ``rows.yaml`` of its library's folder."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any

import gymnasium

from ..errors import InvalidNameError, LDMError, UnknownEnvironmentError, short
from ..hashing import key
from ..utils.files import read_yaml
from ..utils.names import as_name, check_name
from .building import NAMESPACE, Kwargs
from .families import default_family
from .isolation import installed_version, is_isolated, pinned_version
from .library_folders import (
    ROWS,
    Changes,
    Group,
    PublicScore,
    Row,
    folder_of,
    libraries,
    measured,
    public_scores,
)

OPENENV = "openenv:"  # before the address of a running server
DRAWN = "-drawn"  # behind the name of a row, before a number: the row with numbers drawn by it, see `knobs.drawn`
SHORT = "-short"  # behind the id of a standard environment: its row has a shorter time limit
KINDS: dict[str, type | UnionType] = {  # of the fields of a row, which a file gives
    "env_id library domain family": str,
    "task reference": str | None,
    "kwargs reference_kwargs": dict,
    "public": dict | None,
    "wrappers": tuple,
    "max_episode_steps max_steps": int | None,
    "episodes": int,
}


@dataclass(frozen=True)
class EnvironmentSpec:
    """One row of the catalogue.

    Args:
        name: unique name; also the config of its dataset.
        env_id: Gymnasium id; in a file, the name by default.
        library: distribution that the environment comes from.
        domain: group in which its score is averaged: control, energy, robotics, ...
        task: one sentence that says what is to be done.
        kwargs: keyword arguments of `gymnasium.make`.
        reference: `name` of its reference policy, ``module:Class``, or ``rl``; None if there is none.
        reference_kwargs: parameters of that policy.
        wrappers: names of `wrappers.WRAPPERS`, or of those that a library's folder adds, to apply in order.
        max_episode_steps: time limit, where the library's own is too long or missing.
        max_steps: most steps to collect, where the environment is slow.
        episodes: fewest episodes that measure a policy, where returns vary much.
        public: the best score that others have published for it, see `library_folders.PublicScore`.
        family: name that it shares with rows that differ in numbers of the same world; by default see `families`.

    Raises:
        InvalidNameError: if the name cannot be that of a folder and a config.
        TypeError: if another field is of the wrong kind.
    """

    name: str
    env_id: str
    library: str = "gymnasium"
    domain: str = "custom"
    task: str = ""
    kwargs: Kwargs = field(default_factory=dict)
    reference: str | None = None
    reference_kwargs: Kwargs = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    max_episode_steps: int | None = None
    max_steps: int | None = None
    episodes: int = 1
    public: PublicScore | None = None
    family: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        for names, kind in KINDS.items():
            for name in names.split():
                if not isinstance(getattr(self, name), kind):
                    raise TypeError(f"{self.name}: {name} should be {kind}, is {short(getattr(self, name))}")
        if self.library:
            check_name(self.library)  # it is a folder, too
        if not self.family:
            known = libraries().get(self.library)
            beginnings = known.families if known else ()
            object.__setattr__(self, "family", default_family(self.name, self.env_id, self.kwargs, beginnings))

    @property
    def licence(self) -> str:
        """Licence of the library; empty if it has no folder."""
        known = libraries().get(self.library)
        return known.licence if known else ""

    @property
    def expected_spaces(self) -> tuple[str, str] | None:
        """Observation and action space in short, as `ldm envs check --record` found them; None if it never did."""
        found = measured()["spaces"].get(self.name)
        return None if found is None else (found[0], found[1])

    @property
    def version(self) -> str:
        """Installed version of the library, the pinned one if it is isolated; empty if it is not installed."""
        return pinned_version(self.library) if is_isolated(self.library) else installed_version(self.library)

    def changed(self, changes: Changes) -> EnvironmentSpec:
        """The same row at the conditions of a published score."""
        limit = changes.get("max_episode_steps", self.max_episode_steps)
        return replace(self, max_episode_steps=limit, kwargs=self.kwargs | changes.get("kwargs", {}))

    def of_public(self, score: float, random: float, changes: Changes | None = None) -> float | None:
        """A mean return between random actions (0) and the published expert (1).

        Args:
            score: mean return.
            random: mean return of random actions, for experts whose source has none.
            changes: conditions of both, see `changed`; by default those of the row.

        Returns:
            The share; None if nothing is published for these conditions, or the expert is not better than random.
        """
        if self.public is None or self.public["changes"] != (changes or {}):
            return None
        zero = random if self.public["random"] is None else self.public["random"]
        return (score - zero) / (self.public["score"] - zero) if self.public["score"] > zero else None

    def facts(self) -> dict[str, Any]:
        """The fields of the row that a dataset keeps, as `EnvironmentInfo` names them."""
        names = ("name", "env_id", "kwargs", "library", "version", "licence", "domain", "task")
        return {name: getattr(self, name) for name in names} | {"task": self.task or ""}


def shared_fields(group: Group) -> Row:
    """The fields that all rows of a group share."""
    shared = group.copy()
    shared.pop("rows", None)
    return shared


def expand(groups: Sequence[Group]) -> list[Row]:
    """The rows of a file, each with the fields that its group shares; ``kwargs`` of both are merged."""
    rows = []
    for group in groups:
        shared = shared_fields(group)
        for row in group.get("rows", [Row()]):
            merged = shared | row
            if "kwargs" in shared and "kwargs" in row:
                merged["kwargs"] = shared["kwargs"] | row["kwargs"]
            if "reference_kwargs" in shared and "reference_kwargs" in row:
                merged["reference_kwargs"] = shared["reference_kwargs"] | row["reference_kwargs"]
            rows.append(merged)
    return rows


@cache
def catalogue() -> dict[str, EnvironmentSpec]:
    """All rows by name: those of the libraries, then those of the user's own files, which ``$LDM_HF_CATALOGUE`` lists.

    Raises:
        LDMError: if a file cannot be read.
    """
    specs: dict[str, EnvironmentSpec] = {}
    for library in libraries().values():
        path, public = folder_of(library.library) / ROWS, public_scores(library.library)
        _add(specs, path, library.rows, {"library": library.library}, public)
    for name in os.environ.get("LDM_HF_CATALOGUE", "").split(os.pathsep):
        if name:
            add_file(specs, Path(name))
    return specs


@cache
def endless() -> dict[str, EnvironmentSpec]:
    """The rows of which every number makes a world of its own, by name; none of them is in the catalogue.

    Raises:
        LDMError: if a file cannot be read.
    """
    specs: dict[str, EnvironmentSpec] = {}
    for library in libraries().values():
        _add(specs, folder_of(library.library) / ROWS, library.endless, {"library": library.library})
    return specs


def find(name: str) -> EnvironmentSpec | None:
    """The row of this name in the catalogue, or the one that a number makes.

    ``RandomWorlds-maze-7`` is of an endless row, ``CartPole-v1-drawn-7`` has other numbers than ``CartPole-v1``.
    """
    stem, _, number = name.rpartition("-")
    if name in catalogue() or not (number.isdecimal() and str(int(number)) == number):
        return catalogue().get(name)
    if stem in endless():
        return numbered(endless()[stem], int(number))
    return _drawn(plain_name(name), int(number)) if plain_name(name) in catalogue() else None


@cache
def _drawn(name: str, number: int) -> EnvironmentSpec:
    from .knobs import drawn  # it looks for other rows of the same world

    return drawn(catalogue()[name], number)


def plain_name(name: str) -> str:
    """The name of the row that drawn numbers were put into: of ``CartPole-v1-drawn-7`` it is ``CartPole-v1``."""
    row, drawn, number = name.rpartition(f"{DRAWN}-")
    return row if drawn and number.isdecimal() else name


def numbered(row: EnvironmentSpec, number: int) -> EnvironmentSpec:
    """The row of one world of an endless row."""
    name = f"{row.name}-{number}"
    return replace(row, name=name, kwargs=row.kwargs | {"seed": number}, family=row.name)


def add_file(specs: dict[str, EnvironmentSpec], path: Path) -> None:
    """Adds the rows of a user's file to a catalogue; their domain is the name of the file unless they say another.

    Raises:
        LDMError: if the file cannot be read.
    """
    try:
        entries = read_yaml(path)
    except (OSError, ValueError) as error:
        raise LDMError(f"the catalogue {path} cannot be read: {error}") from error
    _add(specs, path, entries, {"domain": path.stem})


def _add(
    specs: dict[str, EnvironmentSpec],
    path: Path,
    groups: Sequence[Group],
    defaults: Row,
    public: Mapping[str, PublicScore] | None = None,
) -> None:
    try:
        for row in expand(groups):
            name = row.get("name", "")
            fields: dict[str, Any] = {**defaults, "env_id": name, "public": (public or {}).get(name), **row}
            spec = EnvironmentSpec(**fields | {"wrappers": tuple(row.get("wrappers", ()))})
            if spec.name in specs:
                raise ValueError(f"the name {spec.name} is in the catalogue twice")
            specs[spec.name] = spec
    except (ValueError, TypeError, AttributeError, InvalidNameError) as error:
        raise LDMError(f"the catalogue {path} cannot be read: {error}") from error


def _library_of(env_id: str) -> str:
    """The package that registers an id which is not in the catalogue."""
    module, colon, _ = env_id.partition(":")
    if not colon:
        entry_point = gymnasium.spec(env_id).entry_point
        module = entry_point if isinstance(entry_point, str) else getattr(entry_point, "__module__", "")
    return module.partition(":")[0].partition(".")[0]


def get_spec(name: str) -> EnvironmentSpec:
    """The row of this name.

    The number behind an endless row makes one. A Gymnasium id that is not in the catalogue, or ``openenv:`` and the
    address of a server, gets a new row without reference.

    Raises:
        UnknownEnvironmentError: if there is none; the message has the closest names.
    """
    row = find(name)
    if row is not None:
        return row
    if name.startswith(OPENENV):
        url = name.removeprefix(OPENENV)
        plain = re.sub(r"\W+", "-", url.partition("://")[2]).strip("-")
        called = as_name(f"openenv-{plain}")
        return EnvironmentSpec(called, f"{NAMESPACE}OpenEnv-v0", "openenv-core", kwargs={"url": url})
    if name in gymnasium.registry or ":" in name:  # "module:Id-v0": Gymnasium imports the module first
        return EnvironmentSpec(as_name(name), env_id=name, library=_library_of(name))
    close = difflib.get_close_matches(name, [*catalogue(), *gymnasium.registry], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UnknownEnvironmentError(
        f"no environment {name!r} in the catalogue or in Gymnasium.{hint} `ldm envs list` shows the catalogue."
    )


def known_as(name: str, known: Collection[str]) -> str:
    """The name under which a model knows an environment.

    Models that are older than the ``-short`` rows know these by the id of the standard environment.

    Args:
        name: name in the catalogue.
        known: names that the model knows.
    """
    whole = name.removesuffix(SHORT)
    return whole if name not in known and whole in known else name


def family_of(name: str) -> str:
    """The family of an environment; one that is not in the catalogue is a family of its own."""
    row = find(name)
    return name if row is None else row.family


def families(names: Iterable[str]) -> int:
    """The number of families of environments."""
    return len({family_of(name) for name in names})


def what_runs(name: str) -> str:
    """What `get_spec` and `make` would import or call for a name that nobody has registered here; empty if nothing."""
    if name in catalogue() or name in gymnasium.registry:
        return ""
    if name.startswith(OPENENV):
        return f"connect to {name.removeprefix(OPENENV)}"
    module, colon, _ = name.partition(":")
    return f"import the module {module}" if colon else ""


def select(ids: Sequence[str] | None, domain: str | None = None, library: str | None = None) -> list[EnvironmentSpec]:
    """Chooses rows of the catalogue.

    Args:
        ids: names or Gymnasium ids, also several in one string, separated by commas; all rows if there are none.
        domain: only rows of this domain.
        library: only rows of this library.

    Raises:
        UnknownEnvironmentError: if a name is unknown, or no row is left.
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
    """Splits environments into those to train on and those held out, to measure a model in environments it never saw.

    Whether an environment is held out depends on its name and the seed alone, so it stays so while the catalogue grows.

    Args:
        specs: rows to split.
        library: library that is held out as a whole.
        share: approximate share of the other environments that is held out.
        seed: seed of the random choice.
        kept: names of environments that are never held out.

    Returns:
        Rows to train on, rows held out.
    """
    held_out = [
        spec
        for spec in specs
        if spec.name not in kept and (spec.library == library or key("held out", seed, spec.name) < share * 2**63)
    ]
    names = {spec.name for spec in held_out}
    return [spec for spec in specs if spec.name not in names], held_out


def fingerprint(spec: EnvironmentSpec) -> str:
    """Hash of everything that `make` reads of a row, and of the version of its library."""
    row = asdict(spec)
    parts = [row[field] for field in ("env_id", "library", "kwargs", "wrappers", "max_episode_steps")]
    return f"{key(json.dumps(parts, sort_keys=True), spec.version):x}"
