"""The YAML beside an operational log: which column is what."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import DatasetError
from .base import existing

REFUSE, PREVIOUS, SPLIT = "refuse", "previous", "split"

Yaml = Any
"""A value of the YAML: a text, a list of values, or a dict of values."""


@dataclass(frozen=True)
class Entry:
    """One part of the observation or the action, or the reward.

    Args:
        columns: columns of the table; several make a vector.
        values: allowed values of the cells of a choice, in the order of their numbers.
        text: whether cells are free text.
        low: smallest number allowed, after conversion.
        high: largest number allowed, after conversion.
        unit: unit that numbers may be written with (``3.5 kW``); any other is refused.
        scale: factor of the conversion, number = cell * scale + offset.
        offset: offset of the conversion.
        missing: meaning of an empty cell: ``refuse`` it, the ``previous`` cell of the episode, or this value.
    """

    columns: tuple[str, ...]
    values: tuple[str, ...] | None = None
    text: bool = False
    low: float | None = None
    high: float | None = None
    unit: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    missing: str = REFUSE


@dataclass(frozen=True)
class End:
    """The column that says which rows end an episode.

    Args:
        column: name of the column.
        values: values that end an episode; by default the column holds true or false.
    """

    column: str
    values: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Layout:
    """The content of the YAML, checked.

    Args:
        name: name of the environment.
        observation: parts of the observation.
        action: parts of the action.
        entity: columns that distinguish machines, sites or customers, whose rows may be mixed.
        time: column that rows are sorted by; the order of the file by default.
        time_format: format of ``time`` in the notation of `strptime`, where it is not evident.
        step: distance of two rows, ``15min`` or a number; if given, gaps are looked for.
        gaps: ``split`` an episode in two at a gap, or ``refuse`` it.
        episode: column with a new value for each episode; by default an entity is one long episode.
        reward: the reward; 0 by default.
        terminated: rows that terminate an episode.
        truncated: rows that truncate an episode.
        separator: separator of CSV columns.
        decimal: decimal sign of CSV numbers.
        task: one sentence that says what is to be done.
        domain: energy, logistics, ...
        licence: licence of the data.
        place: name of the YAML, for messages.
    """

    name: str
    observation: Mapping[str, Entry]
    action: Mapping[str, Entry]
    entity: tuple[str, ...] = ()
    time: str | None = None
    time_format: str | None = None
    step: str | None = None
    gaps: str = SPLIT
    episode: str | None = None
    reward: Entry | None = None
    terminated: End | None = None
    truncated: End | None = None
    separator: str = ","
    decimal: str = "."
    task: str = ""
    domain: str = "custom"
    licence: str = ""
    place: str = field(default="the columns", compare=False)

    @property
    def used(self) -> list[str]:
        """All columns of the table that are read."""
        entries = [*self.observation.values(), *self.action.values(), *([self.reward] if self.reward else [])]
        names = [column for entry in entries for column in entry.columns]
        names += [end.column for end in (self.terminated, self.truncated) if end]
        names += [*self.entity, *(name for name in (self.time, self.episode) if name)]
        return list(dict.fromkeys(names))


def load_columns(source: str | Path | Mapping[str, object]) -> tuple[dict[str, Yaml], str]:
    """The content of the YAML, every scalar a text, and its name for messages.

    Args:
        source: the file, or its content.

    Raises:
        DatasetError: if it is missing or no YAML.
    """
    if isinstance(source, Mapping):
        return {str(key): _texts(child) for key, child in source.items()}, "the columns"
    path = existing(source)
    try:  # as texts, since YAML would read off, no and 0123 as something else
        data = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{path} should say which column is what: name, observation, action, ...")
    return data, str(path)


def _texts(value: object) -> Yaml:
    """A value with every scalar as a text."""
    if isinstance(value, Mapping):
        return {str(key): _texts(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(child) for child in value]
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def read_layout(data: dict[str, Yaml], place: str, known: list[str]) -> Layout:
    """Checks what `load_columns` has read.

    Args:
        data: content of the YAML.
        place: name of the YAML, for messages.
        known: columns of the table; patterns (``sensor_*``) are resolved with them.

    Raises:
        DatasetError: names the key that is wrong, and what it may be.
    """
    allowed = [name for name in Layout.__dataclass_fields__ if name not in ("place", "time_format")]
    _check_keys(data, [*(name for name in allowed if name not in ("terminated", "truncated")), "end"], place)
    missing = [name for name in ("name", "observation", "action") if not data.get(name)]
    if missing:
        raise DatasetError(f"{place} does not say {', '.join(missing)}.")
    given: dict[str, Yaml] = {
        key: data[key]
        for key in ("name", "step", "episode", "separator", "decimal", "task", "domain", "licence")
        if data.get(key)
    }
    for role in ("observation", "action"):
        if not isinstance(data[role], dict):
            raise DatasetError(
                f"{place}: {role} should have an entry for each of its parts, like `{role}: {{level: {{}}}}`."
            )
        given[role] = {
            name: _entry(name, value, f"{place}: {role}.{name}", known) for name, value in data[role].items()
        }
    if data.get("reward"):
        value = data["reward"]
        given["reward"] = _entry(
            "reward", {"columns": value} if isinstance(value, str) else value, f"{place}: reward", known
        )
    entity = data.get("entity") or []
    given["entity"] = (entity,) if isinstance(entity, str) else tuple(entity)
    time = data.get("time")
    if isinstance(time, dict):
        _check_keys(time, ["column", "format"], f"{place}: time")
        given["time"], given["time_format"] = time.get("column"), time.get("format")
    elif time:
        given["time"] = time
    given["gaps"] = _one_of(data.get("gaps", SPLIT), (SPLIT, REFUSE), f"{place}: gaps")
    ends = data.get("end") or {}
    _check_keys(ends, ["terminated", "truncated"], f"{place}: end")
    for kind, value in ends.items():
        given[kind] = _end(value, f"{place}: end.{kind}")
    layout = Layout(**given, place=place)
    if layout.step and not layout.time:
        raise DatasetError(f"{place}: step needs a time column.")
    for name in layout.used:
        if name not in known:
            raise DatasetError(
                f"{place}: the table has no column {name!r}{_near(name, known)}; it has: {', '.join(known)}."
            )
    return layout


def _entry(name: str, value: Yaml, place: str, known: list[str]) -> Entry:
    """One part; its column is its name unless the YAML says otherwise."""
    value = {} if value in ("", "null", "~") else value
    if isinstance(value, str | list):  # just the columns
        value = {"columns": value}
    _check_keys(value, list(Entry.__dataclass_fields__), place)
    columns = value.get("columns", name)
    patterns = [columns] if isinstance(columns, str) else columns
    resolved: list[str] = []
    for pattern in patterns:
        resolved += [column for column in known if fnmatch.fnmatchcase(column, pattern)] or [pattern]
    numbers = {
        key: _number(value[key], f"{place}.{key}") for key in ("low", "high", "scale", "offset") if key in value
    }
    if numbers.get("low", -math.inf) > numbers.get("high", math.inf):
        raise DatasetError(f"{place}: low {numbers['low']:g} is above high {numbers['high']:g}.")
    choices = value.get("values")
    if choices and len(set(choices)) < len(choices):
        raise DatasetError(f"{place}.values names something twice: {', '.join(choices)}.")
    return Entry(
        tuple(resolved),
        tuple(choices) if choices else None,
        text=_one_of(value.get("text", "false"), ("true", "false"), f"{place}.text") == "true",
        unit=value.get("unit"),
        missing=value.get("missing", REFUSE),
        **numbers,
    )


def _end(value: Yaml, place: str) -> End:
    """The rows that end an episode: the name of a column, or ``column`` and ``values``."""
    if isinstance(value, str):
        return End(value)
    _check_keys(value, ["column", "values"], place)
    return End(value["column"], tuple(value["values"]) if value.get("values") else None)


def _number(text: str, place: str) -> float:
    """The number that a text should be."""
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{place} should be a number, is {text!r}.") from error


def _one_of(value: str, allowed: tuple[str, ...], place: str) -> str:
    """The value, which has to be one of those allowed."""
    if value not in allowed:
        raise DatasetError(f"{place} should be {' or '.join(allowed)}, is {value!r}.")
    return value


def _check_keys(data: object, allowed: list[str], place: str) -> None:
    """Raises a `DatasetError` unless ``data`` is a dict with no other than the allowed keys."""
    if not isinstance(data, dict):
        raise DatasetError(f"{place} should have entries ({', '.join(allowed)}), is {data!r}.")
    for key in data:
        if key not in allowed:
            raise DatasetError(
                f"{place} has the unknown key {key!r}{_near(key, allowed)}; known are: {', '.join(allowed)}."
            )


def _near(name: str, known: list[str]) -> str:
    """A question that proposes the most similar name, if there is one."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
