"""The folders of `ldm_hf.libraries`.

``rows.yaml`` says what a library is and lists its rows; ``measured.json`` keeps what was measured of them,
``public.json`` what others have published.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict

from ..errors import LDMError
from ..utils.files import read_json, read_yaml, write_atomically
from .building import NAMESPACE, AddedId, Kwargs, Registration

ROOT = Path(__file__).parents[1] / "libraries"
ROWS, MEASURED, PUBLIC, REQUIREMENTS = "rows.yaml", "measured.json", "public.json", "requirements.txt"


class Changes(TypedDict, total=False):
    """Fields that a row would need for the conditions of a published score.

    Attributes:
        max_episode_steps: time limit.
        kwargs: keyword arguments of `gymnasium.make`, in addition to those of the row.
    """

    max_episode_steps: int
    kwargs: Kwargs


class PublicScore(TypedDict):
    """The best score of an agent that others have published for a row.

    Attributes:
        score: mean return per episode.
        random: that of random actions by the same source or the one that it names; None if it has none.
        horizon: time limit in steps; None where an episode has no other end than its own.
        episodes: number of episodes; None where the source does not say.
        source: who measured it, where it stands.
        differences: in what that environment or measurement differs from the row at these conditions, if in anything.
        changes: what turns the row into these conditions.
    """

    score: float
    random: float | None
    horizon: int | None
    episodes: int | None
    source: str
    differences: str
    changes: Changes


class Row(TypedDict, total=False):
    """One row as a file has it; the fields are those of `EnvironmentSpec`, with what its group shares left out."""

    name: str
    env_id: str
    library: str
    domain: str
    task: str
    kwargs: Kwargs
    reference: str | None
    reference_kwargs: Kwargs
    wrappers: list[str]
    max_episode_steps: int
    max_steps: int
    episodes: int
    family: str
    public: PublicScore


class Group(Row, total=False):
    """An entry of a file: ``rows`` and the fields that all of them share; without ``rows``, a row by itself."""

    rows: list[Row]


class MeanReturn(TypedDict):
    """Mean return per episode, and half of its 95 % interval."""

    mean: float
    ci: float


class AttemptSummary(TypedDict, total=False):
    """One policy that `ldm reference` has tried.

    Attributes:
        policy: `name` of the policy, ``module:Class``, or ``rl``.
        method: tabular, scripted, heuristic, planner, rl or distilled.
        seconds: time to make the policy, choose its parameters and measure it.
        kwargs: parameters of the policy, if it has any.
        mean: mean return; missing if the attempt failed.
        ci: half of the 95 % interval of the mean.
        error: why the attempt failed.
        algorithm: for a learned policy, like the fields that follow: PPO, SAC, ...
        steps: environment steps of the training.
        hyperparameters: settings of the algorithm.
        seed: seed of the training.
        configurations: number of configurations that competed.
    """

    policy: str
    method: str
    seconds: float
    kwargs: Kwargs
    mean: float
    ci: float
    error: str
    algorithm: str
    steps: int
    hyperparameters: Kwargs
    seed: int
    configurations: int


class ScoreRecord(TypedDict):
    """What `ldm reference` has found for one environment.

    Attributes:
        random: score of random actions.
        reference: score of the best policy; None, like ``policy`` and ``method``, where nothing could be measured.
        policy: `name` of that policy, ``module:Class``, or ``rl``.
        kwargs: parameters of that policy.
        method: tabular, scripted, heuristic, planner, rl or distilled.
        beats_random: whether the policy is better than random, with both 95 % intervals apart.
        good: whether more time would not be spent.
        episodes: number of episodes of each of the two measurements, of the shorter one if they differ.
        seed: seed of the first of them.
        seconds: time of all attempts.
        attempts: all attempts, in the order in which they were made.
        row: fingerprint of the row, see `specs.fingerprint`.
        library: name and version of the library.
        versions: versions of the packages that measured.
    """

    random: MeanReturn
    reference: MeanReturn | None
    policy: str | None
    kwargs: Kwargs
    method: str | None
    beats_random: bool
    good: bool
    episodes: int
    seed: int
    seconds: float
    attempts: list[AttemptSummary]
    row: str
    library: str
    versions: dict[str, str]


class PublicMeasurement(TypedDict):
    """What `ldm evaluate --suite` has measured of a reference under the conditions of a `PublicScore`.

    Attributes:
        random: mean return of random actions, published or measured.
        reference: score of the reference.
        policy: its `name`.
        kwargs: its parameters.
        episodes: number of episodes.
        seed: seed of the first of them.
        changes: the conditions, see `PublicScore`.
        library: name and version of the library.
    """

    random: float
    reference: MeanReturn
    policy: str
    kwargs: dict[str, Any]
    episodes: int
    seed: int
    changes: Changes
    library: str


class Measured(TypedDict):
    """``measured.json``, by the name of the environment.

    Attributes:
        spaces: observation and action space in short.
        scores: what `ldm reference` has found.
        public: what `ldm evaluate --suite` has found under the conditions of public scores.
    """

    spaces: dict[str, list[str]]
    scores: dict[str, ScoreRecord]
    public: dict[str, PublicMeasurement]


@dataclass(frozen=True)
class Library:
    """What ``rows.yaml`` says of a library.

    Args:
        library: name of the distribution, as ``pip`` knows it.
        module: module whose import registers the library's ids.
        licence: licence as the library's own metadata names it.
        rows: rows of the catalogue, and groups of rows with what they share.
        register: function of ``module`` to call where the import alone does not register the ids.
        extra: extra of this package that installs the library.
        requires: requirements that this extra lists; an isolated library has ``requirements.txt`` instead.
        ids: ids that this package adds under ``ldm_hf/``, ``{Name-v0: {entry_point, max_episode_steps}}``.
        wrappers: wrappers that rows may name, ``{name: file:attribute}``.
        families: beginnings of names whose rows are one family each, where `families.default_family` cannot tell.
        package: name of the distribution that has the library, if it is not one itself.
        endless: rows outside of the catalogue: ``<name>-<number>`` is the row with this number as its ``seed``.
    """

    library: str
    module: str
    licence: str
    rows: list[Group] = field(default_factory=list)
    register: str | None = None
    extra: str = "envs"
    requires: tuple[str, ...] = ()
    ids: Mapping[str, AddedId] = field(default_factory=dict)
    wrappers: Mapping[str, str] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    package: str = ""
    endless: list[Group] = field(default_factory=list)

    @property
    def registration(self) -> Registration:
        """The library's own module, for `building.import_library`."""
        registration: Registration = {"module": self.module}
        if self.register:
            registration["register"] = self.register
        return registration

    @property
    def additions(self) -> Registration:
        """The ids and wrappers of the folder, for `building.import_library`."""
        package = f"ldm_hf.libraries.{folder_of(self.library).name}"
        ids = {
            f"{NAMESPACE}{name}": added | {"entry_point": f"{package}.{added['entry_point']}"}
            for name, added in self.ids.items()
        }
        return {"ids": ids, "wrappers": {name: f"{package}.{path}" for name, path in self.wrappers.items()}}


def folder_of(library: str) -> Path:
    """The folder of a library, whether it exists or not: ``highway-env`` has ``highway_env``."""
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
    """Reads a ``rows.yaml``.

    Raises:
        LDMError: if it cannot be read.
    """
    try:
        fields = read_yaml(path)
        return Library(**fields | {name: tuple(fields.get(name, ())) for name in ("requires", "families")})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LDMError(f"the library {path} cannot be read: {error}") from error


def additions() -> Registration:
    """The ids and wrappers of all folders, for `building.import_library`."""
    ids: dict[str, AddedId] = {}
    wrappers: dict[str, str] = {}
    for library in libraries().values():
        ids |= library.additions["ids"]
        wrappers |= library.additions["wrappers"]
    return {"ids": ids, "wrappers": wrappers}


@cache
def measured() -> Measured:
    """What the folders of all libraries have recorded.

    Raises:
        LDMError: if a file cannot be read.
    """
    merged: Measured = {"spaces": {}, "scores": {}, "public": {}}
    for path in sorted(ROOT.glob(f"*/{MEASURED}")):
        found = _read(path)
        merged["spaces"] |= found["spaces"]
        merged["scores"] |= found["scores"]
        merged["public"] |= found["public"]
    return merged


def public_scores(library: str) -> dict[str, PublicScore]:
    """The best scores that others have published for rows of a library, by name.

    Raises:
        LDMError: if its file cannot be read.
    """
    path = folder_of(library) / PUBLIC
    if not path.exists():
        return {}
    try:
        found: dict[str, PublicScore] = read_json(path)
    except (OSError, ValueError, TypeError) as error:
        raise LDMError(f"{path} cannot be read: {error}; restore it") from error
    return found


def save_measured(kind: Literal["spaces", "scores", "public"], library: str, found: Mapping[str, Any]) -> None:
    """Adds to what the folder of a library has recorded, one line an environment; other environments stay as they are.

    Args:
        kind: part of `Measured` that is added to.
        library: name of the distribution.
        found: entries by the name of the environment.

    Raises:
        LDMError: if the library has no folder, or its file cannot be read.
    """
    folder = folder_of(library)
    if not folder.is_dir():
        raise LDMError(f"{library} has no folder in {ROOT}, so nothing can be recorded of its environments")
    recorded = _read(folder / MEASURED)
    recorded[kind].update(found)
    parts = []
    for name, entries in recorded.items():
        assert isinstance(entries, dict)
        if not entries:
            continue
        lines = [f"{json.dumps(key)}: {json.dumps(entries[key], allow_nan=False)}" for key in sorted(entries)]
        parts.append(f'"{name}": {{\n' + ",\n".join(lines) + "\n}")
    write_atomically(folder / MEASURED, "{\n" + ",\n".join(parts) + "\n}\n")
    measured.cache_clear()


def _read(path: Path) -> Measured:
    empty: Measured = {"spaces": {}, "scores": {}, "public": {}}
    if not path.exists():
        return empty
    try:
        recorded: Measured = empty | read_json(path)
    except (OSError, ValueError, TypeError) as error:
        raise LDMError(f"{path} cannot be read: {error}; restore it, or remove it and measure again") from error
    return recorded
