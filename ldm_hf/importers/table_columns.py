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


@dataclass(frozen=True)
class Entry:
    """One part of the observation or the action, or the reward.

    Args:
        columns: of the table; several make a vector.
        values: that the cells may have, in this order: a choice.
        text: cells are free text.
        low: smallest number allowed, after conversion.
        high: largest number allowed, after conversion.
        unit: that numbers may be written with (``3.5 kW``); any other is refused.
        scale: number = cell * scale + offset.
        offset: see ``scale``.
        missing: what an empty cell means: ``refuse`` it, the ``previous`` cell of the episode, or this value.
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
    """The column that says that an episode ended with this row: true, or one of ``values``."""

    column: str
    values: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Layout:
    """What the YAML says.

    Args:
        name: of the environment.
        observation: its parts.
        action: its parts.
        entity: columns that tell machines, sites or customers apart, whose rows may be mixed.
        time: column that rows are put in order by; the order of the file by default.
        time_format: of ``time``, as `strptime` has it, where it is not evident.
        step: distance of two rows, ``15min`` or a number; then gaps are looked for.
        gaps: ``split`` into two episodes, or ``refuse``.
        episode: column with a new value for each episode; by default an entity is one long episode.
        reward: where there is one; 0 otherwise.
        terminated: rows after which an episode is over by itself.
        truncated: rows after which it was cut off.
        separator: of CSV columns.
        decimal: sign of CSV numbers.
        task: one sentence that says what is to be done.
        domain: energy, logistics, ...
        licence: of the data.
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
        """All columns of the table that play a part."""
        entries = [*self.observation.values(), *self.action.values(), *([self.reward] if self.reward else [])]
        names = [column for entry in entries for column in entry.columns]
        names += [end.column for end in (self.terminated, self.truncated) if end]
        names += [*self.entity, *(name for name in (self.time, self.episode) if name)]
        return list(dict.fromkeys(names))


def load_columns(source: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The YAML as it stands, every scalar a text, and its name for messages.

    Args:
        source: the file, or what stands in it.

    Raises:
        DatasetError: if it is missing or no YAML.
    """
    if isinstance(source, Mapping):
        return _texts(source), "the columns"
    path = existing(source)
    try:  # YAML itself would make off, no and 0123 something else
        data = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{path} should say which column is what: name, observation, action, ...")
    return data, str(path)


def _texts(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _texts(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(child) for child in value]
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def read_layout(data: dict[str, Any], place: str, known: list[str]) -> Layout:
    """Checks what `load_columns` has read.

    Args:
        data: the YAML.
        place: its name, for messages.
        known: columns of the table; patterns (``sensor_*``) are resolved with them.

    Raises:
        DatasetError: names the key that is wrong, and what it may be.
    """
    allowed = [name for name in Layout.__dataclass_fields__ if name not in ("place", "time_format")]
    _check_keys(data, [*(name for name in allowed if name not in ("terminated", "truncated")), "end"], place)
    missing = [name for name in ("name", "observation", "action") if not data.get(name)]
    if missing:
        raise DatasetError(f"{place} does not say {', '.join(missing)}.")
    given: dict[str, Any] = {
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


def _entry(name: str, value: Any, place: str, known: list[str]) -> Entry:
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


def _end(value: Any, place: str) -> End:
    if isinstance(value, str):
        return End(value)
    _check_keys(value, ["column", "values"], place)
    return End(value["column"], tuple(value["values"]) if value.get("values") else None)


def _number(text: str, place: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{place} should be a number, is {text!r}.") from error


def _one_of(value: str, allowed: tuple[str, ...], place: str) -> str:
    if value not in allowed:
        raise DatasetError(f"{place} should be {' or '.join(allowed)}, is {value!r}.")
    return value


def _check_keys(data: Any, allowed: list[str], place: str) -> None:
    if not isinstance(data, dict):
        raise DatasetError(f"{place} should have entries ({', '.join(allowed)}), is {data!r}.")
    for key in data:
        if key not in allowed:
            raise DatasetError(
                f"{place} has the unknown key {key!r}{_near(key, allowed)}; known are: {', '.join(allowed)}."
            )


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
