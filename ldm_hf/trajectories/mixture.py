"""A mixture file: several datasets, and the share of each dataset, domain and environment in the training.

    # mixture.yaml
    datasets:
      - path: outputs/trajectories          # a folder or a Hub id
        weight: 1                           # half of the training,
        environments: ["metaworld-*", CartPole-v1]
      - path: outputs/logs                  # and this the other half
        weight: 1
        min_return_percentile: 50           # only the better half of its episodes
        rename: {CartPole-v1: CartPole-logs}
    domains: {robotics: 2}                  # twice as much as each other domain of the same dataset
    environments: {"metaworld-*": 0.5}      # factors; 0 leaves out
    temperature: 2                          # environments of a group by steps^(1/2); equally without it
    max_steps: 100000                       # an environment of more steps counts as one of so many
    max_share: 0.2                          # no environment is drawn more often

Weights are shares: datasets share the whole; domains, if any is given, their dataset; environments their domain.
Temperature and the limit of steps are those of T5 (Raffel et al. 2020, section 3.5.2).
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from ..errors import DatasetError, short
from ..rollouts.returns import BAR
from ..utils.files import read_yaml
from ..utils.names import check_name
from .streams import Stream, Streams, find_configs, open_stream, opening

HEAVIEST = 1e15  # more would overflow when weights are multiplied
Keys = dict[str, Any]
"""A part of a mixture file, each value of which is checked before it is used."""


@dataclass(frozen=True)
class MixedDataset:
    """One dataset of a mixture.

    Args:
        path: folder or Hub id.
        weight: share of the whole.
        environments: names or patterns of the environments to take; all by default.
        rename: new names of environments that are in two datasets.
        min_return_percentile: leaves out episodes with lower returns, see `open_dataset`.
    """

    path: str
    weight: float = 1.0
    environments: tuple[str, ...] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    min_return_percentile: float | None = None


@dataclass(frozen=True)
class Mixture:
    """The content of a mixture file.

    Args:
        datasets: the datasets, at least one.
        domains: weights by domain; 1 where none is given.
        environments: factors by name or pattern; 1 where none fits.
        temperature: 1 draws environments in proportion to their steps; the higher, the more equally. None: equally.
        max_steps: an environment of more steps counts as one of so many.
        max_share: largest share of any environment in the whole.
    """

    datasets: tuple[MixedDataset, ...]
    domains: Mapping[str, float] = field(default_factory=dict)
    environments: Mapping[str, float] = field(default_factory=dict)
    temperature: float | None = None
    max_steps: int | None = None
    max_share: float = 1.0


class MixtureFile(TypedDict):
    """A mixture file as `gap_mixture` makes it.

    Attributes:
        datasets: one dataset with its ``path``.
        environments: factors by name.
    """

    datasets: list[dict[str, str]]
    environments: dict[str, float]


def read_mixture(path: str | Path) -> Mixture:
    """Reads and checks a mixture file.

    Raises:
        DatasetError: names the key that is wrong, and what it may be.
    """
    try:
        data = read_yaml(Path(path))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is missing or no YAML: {error}") from error
    data = _checked(data, Mixture, str(path))
    entries = data.get("datasets")
    if not isinstance(entries, list) or not entries:
        raise DatasetError(f"{path}: datasets should be a list with a `path` in each entry.")
    parts = []
    for number, entry in enumerate(entries):
        place = f"{path}: datasets[{number}]"
        entry = _checked({"path": entry} if isinstance(entry, str) else entry, MixedDataset, place)
        if not isinstance(entry.get("path"), str):
            raise DatasetError(f"{place} has no path: the folder or Hub id of a dataset.")
        if "environments" in entry:
            entry["environments"] = tuple(_list(entry["environments"], f"{place}.environments"))
        renamed = entry.get("rename", {})
        if not isinstance(renamed, dict) or not all(isinstance(name, str) for name in renamed):
            raise DatasetError(f"{place}: rename should be new names by name, is {short(renamed)}.")
        for name in renamed.values():
            check_name(name)
        _numbers(entry, {"weight": (0, HEAVIEST), "min_return_percentile": (0, 100)}, place)
        parts.append(MixedDataset(**entry))
    data["datasets"] = tuple(parts)
    for key in ("domains", "environments"):
        if not isinstance(data.get(key, {}), dict) or not all(isinstance(name, str) for name in data.get(key, {})):
            raise DatasetError(f"{path}: {key} should be weights by name, like {{CartPole-v1: 2}}.")
        _numbers(data.get(key, {}), dict.fromkeys(data.get(key, {}), (0, HEAVIEST)), f"{path}: {key}")
    _numbers(data, {"temperature": (1e-3, HEAVIEST), "max_steps": (1, HEAVIEST), "max_share": (1e-9, 1)}, str(path))
    return Mixture(**data)


def gap_mixture(
    dataset: str | Path,
    results: Mapping[str, Any] | None = None,
    least: float = 0.25,
    factors: Mapping[str, float] | None = None,
    won_share: float = 0.0,
) -> MixtureFile:
    """Makes a mixture that draws an environment more often, the further a model lags behind the reference there.

    Args:
        dataset: folder or Hub id of trajectories.
        results: results of `evaluate`; an environment that is not among them counts as one in which the model acts at
            random.
        least: factor of environments where nothing is left to learn, between 0 and 1; where a model acts at random, the
            factor is 1.
        factors: further factors by name or pattern.
        won_share: least share of all segments for the environments at 80 % of the reference or more, together, so that
            what is won is not forgotten.

    Returns:
        The content of a mixture file. The factor of an environment is ``least + (1 - least) * gap``, where the gap is 1
        minus the normalised score, clipped to between 0 and 1; times those of ``factors`` that fit.

    Raises:
        DatasetError: if the results have none of these environments, a pattern fits none, or ``won_share`` is no share.
    """
    names = sorted(find_configs(dataset))
    scores = {name: entry["normalised"] for name, entry in (results or {}).get("environments", {}).items()}
    if scores and not scores.keys() & set(names):
        raise DatasetError(
            f"the results have none of the environments of {dataset}; "
            f"evaluate the model in them: {', '.join(names[:5])}, ..."
        )
    gaps = {name: float(np.clip(1 - scores.get(name, 0.0), 0, 1)) for name in names}
    environments = {name: round(least + (1 - least) * gap, 3) for name, gap in gaps.items()}
    for pattern, factor in (factors or {}).items():
        matching = fnmatch.filter(names, pattern)
        if not matching:
            raise DatasetError(f"{pattern!r} fits none of the environments of {dataset}: {', '.join(names[:5])}, ...")
        environments |= {name: round(environments[name] * factor, 3) for name in matching}
    if not 0 <= won_share < 1:
        raise DatasetError(f"the share of what is won should be from 0 to below 1, is {won_share:g}.")
    won = {name for name in names if scores.get(name, 0.0) >= BAR}
    theirs, others = (sum(environments[name] for name in part) for part in (won, set(names) - won))
    if theirs and others and theirs < won_share * (theirs + others):
        factor = won_share / (1 - won_share) * others / theirs
        environments |= {name: round(environments[name] * factor, 3) for name in won}
    return {"datasets": [{"path": str(dataset)}], "environments": environments}


def open_mixture(
    path: str | Path,
    names: list[str] | None = None,
    min_return_percentile: float | None = None,
    test_episodes: str | None = None,
) -> Streams:
    """Opens all datasets of a mixture file.

    Args:
        path: path of the file.
        names: names of the environments to open; all that have a weight by default.
        min_return_percentile: percentile for the datasets of the mixture that give none, see `open_dataset`.
        test_episodes: episodes of every dataset to leave out for the test, see `open_dataset`.

    Raises:
        DatasetError: if the file is wrong, a name or pattern fits nothing, or two datasets have an environment of the
            same name.
    """
    mixture = read_mixture(path)
    streams: dict[str, Stream] = {}
    source: dict[str, int] = {}
    for number, part in enumerate(mixture.datasets):
        configs = find_configs(part.path, None if part.environments is None else list(part.environments))
        for name in opening(_chosen(part, configs), f"open {part.path}"):
            called = part.rename.get(name, name)
            if called in streams:
                raise DatasetError(
                    f"{path}: {called} is in {mixture.datasets[source[called]].path} and in {part.path}; "
                    "leave it out of one (environments: [...]), "
                    f"or give it another name (rename: {{{name}: {name}-2}})."
                )
            if _factor(called, mixture) == 0 or part.weight == 0 or (names is not None and called not in names):
                continue
            percentile = min_return_percentile if part.min_return_percentile is None else part.min_return_percentile
            streams[called], source[called] = open_stream(configs[name], percentile, test_episodes), number
    unknown = [name for name in names or [] if name not in streams]
    if unknown or not streams:
        raise DatasetError(
            f"{path} mixes no {', '.join(unknown) or 'environment at all'}; it mixes: {', '.join(streams)}."
        )
    for pattern in mixture.environments:
        if mixture.environments[pattern] and names is None and not fnmatch.filter(streams, pattern):
            raise DatasetError(f"{path}: environments: {pattern!r} fits none of {', '.join(streams)}.")
    domains = {stream.info.domain for stream in streams.values()}
    if names is None and set(mixture.domains) - domains:
        raise DatasetError(
            f"{path}: no environment of the domain(s) {sorted(set(mixture.domains) - domains)}; "
            f"there are: {sorted(domains)}."
        )
    return Streams(streams, _limited(_shares(mixture, streams, source), mixture.max_share, str(path)))


def _chosen(part: MixedDataset, found: Collection[str]) -> list[str]:
    """The names among those found that a dataset of the mixture takes."""
    if part.environments is None:
        return list(found)
    for pattern in part.environments:
        if not fnmatch.filter(found, pattern):
            raise DatasetError(f"{part.path} has no environment {pattern!r}; it has: {', '.join(found)}.")
    return [name for name in found if any(fnmatch.fnmatchcase(name, pattern) for pattern in part.environments)]


def _factor(name: str, mixture: Mixture) -> float:
    """The product of the factors that fit the name of an environment."""
    factor = 1.0
    for pattern, value in mixture.environments.items():
        if fnmatch.fnmatchcase(name, pattern):
            factor *= value
    return factor


def _shares(mixture: Mixture, streams: Mapping[str, Stream], source: Mapping[str, int]) -> dict[str, float]:
    """The share of each environment in the whole; ``source`` has the number of its dataset."""
    sizes, groups, datasets = {}, {}, {}
    for name, stream in streams.items():
        steps = min(stream.num_steps, mixture.max_steps or stream.num_steps)
        size = 1.0 if mixture.temperature is None else float(np.float64(steps) ** (1 / mixture.temperature))
        sizes[name] = size * _factor(name, mixture)
        if not math.isfinite(sizes[name]):
            raise DatasetError(f"{name}: its factors and the temperature make a share that is not finite.")
        domain = stream.info.domain if mixture.domains else ""
        groups[name] = (source[name], domain)
        datasets[source[name]] = mixture.datasets[source[name]].weight
    within = {group: sum(sizes[name] for name in streams if groups[name] == group) for group in groups.values()}
    weight = {group: mixture.domains.get(group[1], 1.0) for group in within}
    if not any(weight[group] for group in weight):
        raise DatasetError("the mixture weighs every domain with 0.")
    parts = {number: sum(weight[group] for group in weight if group[0] == number) for number in datasets}
    total = sum(datasets[number] for number in datasets if parts[number])
    return {
        name: datasets[group[0]] / total * weight[group] / parts[group[0]] * sizes[name] / within[group]
        if weight[group]
        else 0.0
        for name, group in groups.items()
    }


def _limited(shares: dict[str, float], limit: float, place: str) -> dict[str, float]:
    """Cuts shares off at the limit; what is cut off goes to the others in proportion."""
    able = [name for name, share in shares.items() if share]
    if limit * len(able) < 1 - 1e-9:
        raise DatasetError(
            f"{place}: max_share {limit:g} cannot be kept with {len(able)} environments; at least {1 / len(able):.3g}."
        )
    full: set[str] = set()
    while True:
        free = sum(share for name, share in shares.items() if name not in full)
        factor = (1 - limit * len(full)) / free if free else 0.0
        over = {name for name in able if name not in full and shares[name] * factor > limit + 1e-12}
        if not over:
            return {name: limit if name in full else share * factor for name, share in shares.items()}
        full |= over


def _checked(data: object, kind: type[Mixture] | type[MixedDataset], place: str) -> Keys:
    """Keys and values of a part of the file, all of which are fields of ``kind``."""
    known = [item.name for item in fields(kind)]
    if not isinstance(data, dict):
        raise DatasetError(f"{place} should have the keys {', '.join(known)}, is {short(data)}.")
    unknown = sorted(set(map(str, data)) - set(known))
    if unknown:
        raise DatasetError(f"{place} has the unknown key(s) {', '.join(unknown)}; known are: {', '.join(known)}.")
    return {key: value for key, value in data.items() if value is not None}


def _list(value: object, place: str) -> list[str]:
    """The value, which has to be a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DatasetError(f"{place} should be a list of names or patterns, is {short(value)}.")
    return value


def _numbers(data: Mapping[str, object], limits: Mapping[str, tuple[float, float]], place: str) -> None:
    """Raises a `DatasetError` unless the values of these keys are numbers within their limits."""
    for key, (low, high) in limits.items():
        value = data.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high
        ):
            raise DatasetError(f"{place}: {key} should be a number from {low:g} to {high:g}, is {short(value)}.")
