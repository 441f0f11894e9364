"""The YAML beside an operational log: which column is what."""

from __future__ import annotations

import difflib
import fnmatch
import math
import zoneinfo
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import DatasetError
from ..utils.files import read_yaml
from .base import existing

REFUSE, PREVIOUS, SPLIT = "refuse", "previous", "split"
NEW, SAME, EACH, DROP = "new", "same", "each", "drop"

Yaml = Any
"""A value of the YAML: a text, a list of values, or a dict of values."""


@dataclass(frozen=True)
class Entry:
    """One part of the observation or the action, or the reward.

    Args:
        columns: columns of the table; several make a vector.
        values: allowed values of the cells of a choice, in the order of their numbers.
        words: whether cells are words, however much they look like numbers; their values are found.
        text: whether cells are free text.
        low: smallest number allowed, after conversion.
        high: largest number allowed, after conversion.
        unit: unit that numbers may be written with (``3.5 kW``); any other is refused.
        units: several units, one of which each cell has to name, with the factors that make one unit of them, that with
            the factor 1.
        scale: factor of the conversion, number = cell * scale + offset.
        offset: offset of the conversion.
        empty: words that stand for an empty cell.
        missing: meaning of an empty cell: ``refuse`` it, the ``previous`` cell of the episode, or this value.
    """

    columns: tuple[str, ...]
    values: tuple[str, ...] | None = None
    words: bool = False
    text: bool = False
    low: float | None = None
    high: float | None = None
    unit: str | None = None
    units: tuple[tuple[str, float], ...] = ()
    scale: float | None = None
    offset: float | None = None
    empty: tuple[str, ...] = ()
    missing: str = REFUSE

    @property
    def numeric(self) -> bool:
        """Whether a key says that the cells are numbers."""
        return (
            self.unit is not None
            or bool(self.units)
            or any(value is not None for value in (self.low, self.high, self.scale, self.offset))
        )

    @property
    def converts(self) -> bool:
        """Whether numbers are not stored as the cells have them."""
        return self.scale not in (None, 1.0) or self.offset not in (None, 0.0)


@dataclass(frozen=True)
class End:
    """The column that says which rows end an episode.

    Args:
        column: name of the column.
        values: values that end an episode; by default the column holds true or false.
        repeated: ``each`` row ends an episode where the column stays true, or ``drop`` the rows behind the first;
            ``refuse`` by default.
    """

    column: str
    values: tuple[str, ...] | None = None
    repeated: str = REFUSE


@dataclass(frozen=True)
class Layout:
    """The content of the YAML, checked.

    Args:
        name: name of the environment.
        observation: parts of the observation.
        action: parts of the action.
        entity: columns that distinguish machines, sites or customers, whose rows may be mixed.
        time: columns that rows are sorted by, such as one of dates and one of times of day; the order of the file by
            default.
        time_format: format of ``time`` in the notation of `strptime`, or ``number``, where it is not evident.
        zone: time zone of times that name none, such as ``Europe/Berlin``.
        step: distance of two rows, ``15min`` or a number; if given, gaps are looked for.
        gaps: ``split`` an episode in two at a gap, or ``refuse`` it.
        episode: column with a new value for each episode; by default an entity is one long episode.
        again: what an episode number is that comes again behind another: a ``new`` episode, the ``same``, or
            ``refuse`` it.
        reward: the reward; 0 by default.
        terminated: rows that terminate an episode.
        truncated: rows that truncate an episode.
        separator: separator of CSV columns; by default a tab in ``.tsv`` files, else a comma.
        encoding: encoding of CSV files; UTF-8 by default, or what their first bytes say.
        decimal: decimal sign of numbers that are texts.
        thousands: sign between groups of three digits.
        empty: words that stand for an empty cell in every part that does not say otherwise.
        task: one sentence that says what is to be done.
        domain: energy, logistics, ...
        licence: licence of the data.
        place: name of the YAML, for messages.
    """

    name: str
    observation: Mapping[str, Entry]
    action: Mapping[str, Entry]
    entity: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    time_format: str | None = None
    zone: str | None = None
    step: str | None = None
    gaps: str = SPLIT
    episode: str | None = None
    again: str = REFUSE
    reward: Entry | None = None
    terminated: End | None = None
    truncated: End | None = None
    separator: str | None = None
    encoding: str | None = None
    decimal: str = "."
    thousands: str | None = None
    empty: tuple[str, ...] = ()
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
        names += [*self.entity, *self.time, *([self.episode] if self.episode else [])]
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
        data = read_yaml(path, _Strict)
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{path} should say which column is what: name, observation, action, ...")
    return data, str(path)


class _Strict(yaml.BaseLoader):  # type: ignore[misc]  # yaml is not typed
    """Reads YAML as texts and refuses keys that stand twice, of which YAML itself keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A dict, if all its keys are different texts."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None or name in seen:
                problem = f"the key {name!r} stands twice" if name else "a key should be one word"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep=True)
        return found


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
    keys = set(Layout.__dataclass_fields__) - {"place", "time_format", "zone", "again", "terminated", "truncated"}
    allowed = [name for name in Layout.__dataclass_fields__ if name in keys]
    _check_keys(data, [*allowed, "end"], place)
    missing = [name for name in ("name", "observation", "action") if not data.get(name)]
    if missing:
        raise DatasetError(f"{place} does not say {', '.join(missing)}.")
    given: dict[str, Yaml] = {
        key: _word(data[key], f"{place}: {key}")
        for key in ("name", "step", "task", "domain", "licence")
        if data.get(key)
    }
    given |= signs_of(data, place)
    given["empty"] = _words(data.get("empty", []), f"{place}: empty")
    for role in ("observation", "action"):
        if not isinstance(data[role], dict):
            raise DatasetError(
                f"{place}: {role} should have an entry for each of its parts, like `{role}: {{level: {{}}}}`."
            )
        given[role] = {
            name: _entry(name, value, f"{place}: {role}.{name}", known, given["empty"])
            for name, value in data[role].items()
        }
    if data.get("reward"):
        value = data["reward"]
        value = {"columns": value} if isinstance(value, str) else value
        given["reward"] = _entry("reward", value, f"{place}: reward", known, given["empty"])
        if given["reward"].values or given["reward"].words or given["reward"].text:
            raise DatasetError(f"{place}: the reward is a number; values, words and text are none of its keys.")
    given["entity"] = _names(data.get("entity") or [], known, f"{place}: entity")
    given |= _time(data.get("time") or [], known, f"{place}: time")
    given |= _episode(data.get("episode") or "", known, f"{place}: episode")
    given["gaps"] = _one_of(data.get("gaps", SPLIT), (SPLIT, REFUSE), f"{place}: gaps")
    ends = data.get("end") or {}
    _check_keys(ends, ["terminated", "truncated"], f"{place}: end")
    for kind, value in ends.items():
        given[kind] = _end(value, known, f"{place}: end.{kind}")
    layout = Layout(**given, place=place)
    if layout.step and not layout.time:
        raise DatasetError(f"{place}: step needs a time column.")
    if "gaps" in data and not layout.step:
        raise DatasetError(f"{place}: gaps needs a step: how far two rows should be apart.")
    for name in layout.used:
        if name not in known:
            raise DatasetError(
                f"{place}: the table has no column {name!r}{_near(name, known)}; it has: {', '.join(known)}."
            )
        if known.count(name) > 1:
            raise DatasetError(f"{place}: the table has {known.count(name)} columns {name!r}; rename all but one.")
    return layout


def signs_of(data: Mapping[str, Yaml], place: str) -> dict[str, str]:
    """How files and numbers are written: separator, decimal, thousands (one sign each) and encoding, if they are said.

    Raises:
        DatasetError: if one is no sign; a tab may be written as ``tab`` or with a backslash.
    """
    keys = ("separator", "decimal", "thousands", "encoding")
    signs = {key: _word(data[key], f"{place}: {key}") for key in keys if data.get(key)}
    if signs.get("separator") in ("\\t", "tab"):
        signs["separator"] = "\t"
    for key in keys[:3]:
        sign = signs.get(key, ".")
        if len(sign) != 1 or not sign.isascii() or sign.isalnum() or sign in '"\r\n+-':
            raise DatasetError(f"{place}: {key} should be one sign, is {sign!r}.")
    if signs.get("thousands") == signs.get("decimal", "."):
        raise DatasetError(f"{place}: thousands and decimal are both {signs['thousands']!r}.")
    return signs


def _time(value: Yaml, known: list[str], place: str) -> dict[str, Yaml]:
    """The columns of the time, with their format and zone if the YAML says so."""
    if not isinstance(value, dict):
        return {"time": _names(value, known, place)}
    _check_keys(value, ["column", "columns", "format", "zone"], place)
    columns = value.get("columns", value.get("column"))
    if not columns:
        raise DatasetError(f"{place} should name its column, like {{column: time, format: '%d.%m.%Y %H:%M'}}.")
    found: dict[str, Yaml] = {"time": _names(columns, known, place)}
    if value.get("format"):
        found["time_format"] = _word(value["format"], f"{place}.format")
    if value.get("zone"):
        found["zone"] = _word(value["zone"], f"{place}.zone")
        try:
            zoneinfo.ZoneInfo(found["zone"])
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise DatasetError(
                f"{place}.zone should be a time zone like Europe/Berlin, is {value['zone']!r}."
            ) from error
    return found


def _episode(value: Yaml, known: list[str], place: str) -> dict[str, Yaml]:
    """The column that numbers the episodes, and what a number is that comes again."""
    if not isinstance(value, dict):
        return {"episode": _match(_word(value, place), known)} if value else {}
    _check_keys(value, ["column", "again"], place)
    if not value.get("column"):
        raise DatasetError(f"{place} should name its column, like {{column: run, again: new}}.")
    again = _one_of(value.get("again", REFUSE), (NEW, SAME, REFUSE), f"{place}.again")
    return {"episode": _match(_word(value["column"], place), known), "again": again}


def _units(value: dict[str, Yaml], place: str) -> dict[str, Any]:
    """The unit of a part, or several with their factors."""
    if not value.get("units"):
        return {"unit": _word(value["unit"], f"{place}.unit")} if value.get("unit") else {}
    units = value["units"]
    if not isinstance(units, dict) or value.get("unit"):
        raise DatasetError(
            f"{place}.units should give each unit its factor, like {{m: 1, cm: 0.01}}, in the place of unit."
        )
    factors = {unit: _number(factor, f"{place}.units.{unit}") for unit, factor in units.items()}
    if 1 not in factors.values() or min(factors.values()) <= 0:
        raise DatasetError(f"{place}.units should have a factor above 0 for each unit, and 1 for that of the result.")
    base = next(unit for unit, factor in factors.items() if factor == 1)
    return {"unit": base, "units": tuple(sorted(factors.items(), key=lambda unit: unit[0] != base))}


def _entry(name: str, value: Yaml, place: str, known: list[str], empty: tuple[str, ...]) -> Entry:
    """One part; its column is its name unless the YAML says otherwise."""
    value = {} if value in ("", "null", "~") else value
    if isinstance(value, str | list):  # just the columns
        value = {"columns": value}
    _check_keys(value, list(Entry.__dataclass_fields__), place)
    resolved: list[str] = []
    for pattern in _words(value.get("columns", name), f"{place}.columns"):
        exact = _match(pattern, known)
        matching = [column for column in known if fnmatch.fnmatchcase(column, pattern)]
        resolved += [exact] if exact in known else matching or [pattern]
    twice = {column for column in resolved if resolved.count(column) > known.count(column) > 0}
    if twice or not resolved:
        raise DatasetError(f"{place} names {'no column' if not resolved else f'{min(twice)!r} twice'}.")
    numbers: dict[str, Any] = {
        key: _number(value[key], f"{place}.{key}") for key in ("low", "high", "scale", "offset") if key in value
    }
    if numbers.get("low", -math.inf) > numbers.get("high", math.inf):
        raise DatasetError(f"{place}: low {numbers['low']:g} is above high {numbers['high']:g}.")
    if numbers.get("scale") == 0:
        raise DatasetError(f"{place}.scale is 0, which makes all numbers the same.")
    choices = _words(value.get("values", []), f"{place}.values", one=False)
    if len(set(choices)) < len(choices):
        raise DatasetError(f"{place}.values names something twice: {', '.join(choices)}.")
    flags: dict[str, Any] = {
        key: _one_of(value.get(key, "false"), ("true", "false"), f"{place}.{key}") == "true"
        for key in ("text", "words")
    }
    entry = Entry(
        tuple(resolved),
        choices or None,
        **flags,
        **_units(value, place),
        empty=_words(value["empty"], f"{place}.empty") if "empty" in value else empty,
        missing=_word(value.get("missing", REFUSE), f"{place}.missing", blank=True),
        **numbers,
    )
    kinds = {"values": bool(choices), **flags, "unit, scale, offset, low or high": entry.numeric}
    said = [kind for kind, given in kinds.items() if given]
    if len(said) > 1:
        raise DatasetError(
            f"{place} says {' and '.join(said)}; the cells can only be one of choices, texts and numbers."
        )
    return entry


def _end(value: Yaml, known: list[str], place: str) -> End:
    """The rows that end an episode: the name of a column, or ``column`` and ``values``."""
    if isinstance(value, str):
        return End(_match(value, known))
    _check_keys(value, ["column", "values", "repeated"], place)
    if not value.get("column"):
        raise DatasetError(f"{place} should name its column, like {{column: status, values: [failed]}}.")
    return End(
        _match(_word(value["column"], f"{place}.column"), known),
        _words(value["values"], f"{place}.values", one=False) if value.get("values") else None,
        _one_of(value.get("repeated", REFUSE), (EACH, DROP, REFUSE), f"{place}.repeated"),
    )


def _match(name: str, known: list[str]) -> str:
    """The column of this name; blanks around the names in the header do not count where that leaves one."""
    stripped = [column for column in known if column.strip() == name.strip()]
    return name if name in known or len(stripped) != 1 else stripped[0]


def _names(value: Yaml, known: list[str], place: str) -> tuple[str, ...]:
    """One column or a list of columns."""
    return tuple(_match(name, known) for name in _words(value, place))


def _word(value: Yaml, place: str, blank: bool = False) -> str:
    """A value that has to be one word or sentence."""
    if not isinstance(value, str) or not (value or blank):
        raise DatasetError(f"{place} should be one word, is {value!r}.")
    return value


def _words(value: Yaml, place: str, one: bool = True) -> tuple[str, ...]:
    """A list of words; a single word stands for a list of it if ``one`` is allowed."""
    if isinstance(value, str) and one:
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DatasetError(f"{place} should be a list of words like [off, half, full], is {value!r}.")
    return tuple(value)


def _number(text: str, place: str) -> float:
    """The number that a text should be."""
    try:
        number = float(text)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{place} should be a number, is {text!r}.") from error
    if not math.isfinite(number):
        raise DatasetError(f"{place} should be a finite number, is {text!r}; leave it out.")
    return number


def _one_of(value: Yaml, allowed: tuple[str, ...], place: str) -> str:
    """The value, which has to be one of those allowed."""
    if value not in allowed:
        raise DatasetError(f"{place} should be {' or '.join(allowed)}, is {value!r}.")
    return str(value)


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
