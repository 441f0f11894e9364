"""Writes the rows of libraries that register many environments; what the generators of the libraries share."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium
import yaml

from ..errors import UnknownEnvironmentError
from .building import import_library
from .library_folders import ROOT, ROWS, Library, folder_of, libraries, read_library
from .making import quiet
from .specs import expand


def registered(library: str, pattern: str = "") -> list[str]:
    """The ids that a library registers and that match a pattern from their beginning, sorted."""
    with quiet():
        import_library(libraries()[library].entry)
    return sorted(name for name in gymnasium.registry if re.match(pattern, name))


def newest(ids: Iterable[str]) -> list[str]:
    """Of ids that differ in their version only, the last version."""
    latest: dict[str, tuple[int, str]] = {}
    for name in ids:
        stem, _, version = name.rpartition("-v")
        latest[stem] = max(latest.get(stem, (-1, "")), (int(version), name))
    return sorted(name for _, name in latest.values())


def by_prefix(table: Mapping[str, str], name: str) -> str:
    """The entry of the longest key that ``name`` begins with.

    Raises:
        KeyError: if there is none: a new family of environments needs a sentence of its own.
    """
    fitting = [prefix for prefix in table if name.startswith(prefix)]
    if not fitting:
        raise KeyError(f"no task text for {name}: add its family to the table of its generator")
    return table[max(fitting, key=len)]


def rows_of(ids: Iterable[str], task: Callable[[str], str], name: Callable[[str], str] = str) -> list[dict[str, Any]]:
    """Rows of registered ids; ``env_id`` is left out where it is the name."""
    return [
        {"name": name(env_id)} | ({} if name(env_id) == env_id else {"env_id": env_id}) | {"task": task(env_id)}
        for env_id in ids
    ]


Group = dict[str, Any]  # "rows", and beside it what all of them share


def generate_rows(library: str, root: Path = ROOT) -> tuple[Path, int, int]:
    """Adds the rows of all that a library registers to its ``rows.yaml``, by the function `groups` of the ``rows.py`` beside it.

    Rows that are in the file already stay as they are, since they may have been edited.

    Args:
        library: the distribution.
        root: folder of the folders of libraries.

    Returns:
        The file, how many rows were added, how many there are.

    Raises:
        UnknownEnvironmentError: if the library has no ``rows.py``.
    """
    known = [name for name in libraries() if (folder_of(name) / "rows.py").exists()]
    if library not in known:
        raise UnknownEnvironmentError(
            f"no rows are generated for {library!r}; there are generators for {', '.join(known)}"
        )
    generator = importlib.import_module(f"ldm_hf.libraries.{folder_of(library).name}.rows")
    path = root / folder_of(library).name / ROWS
    told = read_library(path) if path.exists() else replace(libraries()[library], rows=[])
    groups, there = list(told.rows), expand(told.rows)
    taken, same = {row["name"] for row in there}, {_identity(row) for row in there}
    added = 0
    for group in generator.groups():
        shared = {field: value for field, value in group.items() if field != "rows"}
        rows = [row for row in group["rows"] if row["name"] not in taken and _identity(shared | row) not in same]
        if not rows:
            continue
        fitting = next((other for other in groups if {**other, "rows": None} == shared | {"rows": None}), None)
        if fitting is None:
            groups.append(fitting := shared | {"rows": []})
        fitting["rows"] += rows
        added += len(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_yaml(replace(told, rows=groups)), encoding="utf-8")
    return path, added, len(expand(groups))


def _identity(row: dict[str, Any]) -> str:
    parts = [row.get("env_id", row["name"]), row.get("kwargs", {}), row.get("wrappers", [])]
    return json.dumps(parts, sort_keys=True)


def to_yaml(library: Library) -> str:
    """A library as its ``rows.yaml`` says it, one line a row."""
    told = {name: value for name, value in asdict(library).items() if name != "rows" and value}
    if told.get("extra") == "envs":
        del told["extra"]
    generated = (folder_of(library.library) / "rows.py").exists()
    lines = [f"# Rows that are missing are added by: ldm envs generate {library.library}"] if generated else []
    lines += [f"{name}: {_flow(list(value) if isinstance(value, tuple) else value)}" for name, value in told.items()]
    lines.append("rows:" if library.rows else "rows: []")
    for entry in library.rows:
        if "rows" not in entry:
            lines.append(f"- {_flow(entry)}")
            continue
        shared = {field: value for field, value in entry.items() if field != "rows"}
        for index, (field, value) in enumerate(shared.items()):
            lines.append(f"{'  ' if index else '- '}{field}: {_flow(value)}")
        lines += ["  rows:", *(f"  - {_flow(row)}" for row in entry["rows"])]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
