"""What a world lets change: the numbers in which the rows of one world differ, such as gravity, length or a cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import LDMError
from ..hashing import key
from .building import Kwargs
from .specs import DRAWN, EnvironmentSpec, catalogue

Path = tuple[str, ...]
"""Names of keyword arguments, one inside the other."""


@dataclass(frozen=True)
class Knob:
    """A number of a world that can be changed; others that depend on it follow.

    Args:
        path: where it is among the keyword arguments.
        points: known settings in increasing order: its value, and the values of all that changes with it, by path.
        fixed: what else is set whenever it is, by path.
        env_id: Gymnasium id of the rows that set it.
        whole: whether it is a whole number.
    """

    path: Path
    points: tuple[tuple[float, dict[Path, float]], ...]
    fixed: dict[Path, Any]
    env_id: str
    whole: bool

    @property
    def name(self) -> str:
        """Its name for a person."""
        return self.path[-1].replace("_", " ").replace(".", " ").strip()

    def with_default(self, defaults: Mapping[Path, float]) -> Knob:
        """The same with the world's own setting as a further point, if all of it is known."""
        paths = self.points[0][1]
        if not all(path in defaults for path in paths):
            return self
        own = defaults[self.path], {path: defaults[path] for path in paths}
        others = [point for point in self.points if point[0] != own[0]]
        return replace(self, points=tuple(sorted([*others, own], key=lambda point: point[0])))

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return self.points[0][0], self.points[-1][0]

    def settings(self, value: float) -> dict[Path, Any]:
        """What to set for a value; what depends on it is interpolated between the known settings."""
        at = [point[0] for point in self.points]
        value = float(np.clip(value, *self.range))
        found: dict[Path, Any] = dict(self.fixed)
        for path in self.points[0][1]:
            between = float(np.interp(value, at, [point[1][path] for point in self.points]))
            whole = self.whole if path == self.path else all(isinstance(point[1][path], int) for point in self.points)
            found[path] = round(between) if whole else between
        return found


def world_of(row: EnvironmentSpec) -> tuple[Any, ...]:
    """What rows of one world share."""
    return row.library, row.kwargs.get("env_id", row.env_id), row.family, row.wrappers


def knobs_of(row: EnvironmentSpec) -> list[Knob]:
    """What the world of a row lets change, found from the rows that differ from its plainest one."""
    kin = [other for other in catalogue().values() if world_of(other) == world_of(row)]
    plain = min(kin, key=lambda other: len(list(_entries(other.kwargs))))
    base = dict(_entries(plain.kwargs))
    groups: dict[tuple[Any, ...], list[tuple[dict[Path, float], dict[Path, Any], str]]] = {}
    for other in kin:
        entries = dict(_entries(other.kwargs))
        differing = {path: value for path, value in entries.items() if path != ("env_id",) and base.get(path) != value}
        numbers = {path: value for path, value in differing.items() if _is_number(value)}
        fixed = {path: value for path, value in differing.items() if path not in numbers}
        if numbers and not any(isinstance(value, str) for value in fixed.values()):
            key = (tuple(numbers), tuple((path, repr(value)) for path, value in fixed.items()))
            groups.setdefault(key, []).append((numbers, fixed, other.env_id))
    found: dict[Path, Knob] = {}
    for members in groups.values():
        numbers, fixed, env_id = members[0]
        path = next(iter(numbers))
        points = {values[path]: values for values, _, _ in members}
        if all(place in base for place in numbers):
            points.setdefault(base[path], {place: base[place] for place in numbers})
        whole = all(isinstance(value, int) for value in points)
        in_order = tuple((float(value), points[value]) for value in sorted(points))
        knob = Knob(path, in_order, fixed, env_id, whole)
        if path not in found or len(found[path].points) < len(points):
            found[path] = knob
    return list(found.values())


def change(row: EnvironmentSpec, values: Mapping[Path, float], knobs: list[Knob]) -> EnvironmentSpec:
    """The row with other numbers. It keeps its name, by which the model knows it.

    Args:
        row: row of the catalogue.
        values: new values by path; what is not among ``knobs`` is ignored.
        knobs: what may be changed.
    """
    kwargs, env_id = deepcopy(row.kwargs), row.env_id
    for knob in knobs:
        if knob.path not in values:
            continue
        if knob.path[0] == "changes" and "env_id" not in kwargs:  # of what alters constants of the plain world
            kwargs["env_id"], env_id = env_id, knob.env_id
        for path, value in knob.settings(values[knob.path]).items():
            _put(kwargs, path, value)
    return replace(row, kwargs=kwargs, env_id=env_id)


def drawn(row: EnvironmentSpec, number: int) -> EnvironmentSpec:
    """The row with numbers drawn anew, which its name, its task text and what is observed do not tell.

    Each number that the world lets change is drawn with probability 1/2, at least one of them, evenly between the
    smallest and the largest value that a row of the catalogue has. Of two that would set the same, one is drawn.

    Args:
        row: row of the catalogue.
        number: what the numbers are drawn by, together with the name of the row.

    Raises:
        LDMError: if the rows of its world differ in no number.
    """
    knobs = drawable_knobs(row)
    if not knobs:
        raise LDMError(
            f"{row.name}: no number of its world can be drawn, since no two rows of the catalogue differ in one"
        )
    rng = np.random.default_rng(key("numbers", row.name, number))
    chosen = rng.permutation(len(knobs))[: max(1, rng.binomial(len(knobs), 0.5))]
    values: dict[Path, float] = {}
    taken: set[Path] = set()
    for knob in (knobs[index] for index in chosen):
        value, sets = float(rng.uniform(*knob.range)), {*knob.points[0][1]}
        if not sets & taken:
            values[knob.path], taken = value, taken | sets
    return replace(change(row, values, knobs), name=f"{row.name}{DRAWN}-{number}", family=row.family, public=None)


def drawn_rows(rows: Iterable[EnvironmentSpec], count: int) -> list[EnvironmentSpec]:
    """Rows of drawn numbers in place of those whose world lets a number change; the others are left out.

    Args:
        rows: rows of the catalogue.
        count: number of rows in place of each, by the numbers from 0 on.

    Raises:
        LDMError: if none is left.
    """
    found = [drawn(row, number) for row in rows if drawable_knobs(row) for number in range(count)]
    if not found:
        raise LDMError("none of these environments lets a number be drawn: no two rows of their worlds differ in one")
    return found


def drawable_knobs(row: EnvironmentSpec) -> list[Knob]:
    """What the world of a row lets change within a range."""
    return [knob for knob in knobs_of(row) if knob.range[0] < knob.range[1]]


def _put(kwargs: Kwargs, path: Path, value: Any) -> None:
    *owners, name = path
    for owner in owners:
        kwargs = kwargs.setdefault(owner, {})
    kwargs[name] = value


def _entries(kwargs: Kwargs, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values that are no dictionaries, with their paths."""
    for name, value in kwargs.items():
        if isinstance(value, dict):
            yield from _entries(value, (*path, name))
        else:
            yield (*path, name), value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
