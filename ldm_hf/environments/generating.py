"""Writes the rows of libraries that register many environments, by the generator in the library's folder."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import gymnasium
import yaml

from ..errors import UnknownEnvironmentError
from ..utils.files import write_atomically
from .building import import_library
from .library_folders import ROOT, ROWS, Library, Row, folder_of, libraries, read_library
from .making import quiet
from .specs import expand, shared_fields

Value = TypeVar("Value")


def registered(library: str, pattern: str = "") -> list[str]:
    """The ids that a library registers and whose beginning matches a pattern, sorted."""
    with quiet():
        import_library(libraries()[library].registration)
    return sorted(name for name in gymnasium.registry if re.match(pattern, name))


def newest(ids: Iterable[str]) -> list[str]:
    """The last version of each id, sorted."""
    latest: dict[str, tuple[int, str]] = {}
    for name in ids:
        stem, _, version = name.rpartition("-v")
        latest[stem] = max(latest.get(stem, (-1, "")), (int(version), name))
    return sorted(name for _, name in latest.values())


def by_prefix(table: Mapping[str, Value], name: str) -> Value:
    """The value of the longest key of ``table`` that ``name`` begins with.

    Raises:
        KeyError: if there is none: a new family of environments needs a sentence of its own.
    """
    fitting = [prefix for prefix in table if name.startswith(prefix)]
    if not fitting:
        raise KeyError(f"no task text for {name}: add its family to the table of its generator")
    return table[max(fitting, key=len)]


def rows_of(ids: Iterable[str], task: Callable[[str], str], name: Callable[[str], str] = str) -> list[Row]:
    """Rows of registered ids; ``env_id`` is left out where it is the name."""

    def row(env_id: str) -> Row:
        if name(env_id) == env_id:
            return {"name": env_id, "task": task(env_id)}
        return {"name": name(env_id), "env_id": env_id, "task": task(env_id)}

    return [row(env_id) for env_id in ids]


def generate_rows(library: str, root: Path = ROOT) -> tuple[Path, int, int]:
    """Adds rows of all environments that a library registers to its ``rows.yaml``.

    The function `groups` of the ``rows.py`` beside that file generates them. Rows that are in the file already stay as
    they are, since they may have been edited.

    Args:
        library: name of the distribution.
        root: folder that contains the folders of libraries.

    Returns:
        The file, the number of rows added, the number of all rows.

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
    current = read_library(path) if path.exists() else replace(libraries()[library], rows=[])
    groups, written = list(current.rows), expand(current.rows)
    names, identities = {row["name"] for row in written}, {_identity(row) for row in written}
    added = 0
    for group in generator.groups():
        shared = shared_fields(group)
        rows = [row for row in group["rows"] if row["name"] not in names and _identity(shared | row) not in identities]
        if not rows:
            continue
        fitting = next((other for other in groups if shared_fields(other) == shared), None)
        if fitting is None:
            groups.append({**shared, "rows": rows})
        else:
            fitting["rows"] += rows
        added += len(rows)
    write_atomically(path, to_yaml(replace(current, rows=groups)))
    return path, added, len(expand(groups))


def _identity(row: Row) -> str:
    """What no two rows have in common."""
    parts = [row.get("env_id", row["name"]), row.get("kwargs", {}), row.get("wrappers", [])]
    return json.dumps(parts, sort_keys=True)


def to_yaml(library: Library) -> str:
    """The text of a library's ``rows.yaml``, one line a row."""
    fields = {name: value for name, value in asdict(library).items() if name != "rows" and value}
    if fields.get("extra") == "envs":
        del fields["extra"]
    generated = (folder_of(library.library) / "rows.py").exists()
    lines = [f"# Rows that are missing are added by: ldm envs generate {library.library}"] if generated else []
    lines += [f"{name}: {_flow(list(value) if isinstance(value, tuple) else value)}" for name, value in fields.items()]
    lines.append("rows:" if library.rows else "rows: []")
    for entry in library.rows:
        if "rows" not in entry:
            lines.append(f"- {_flow(entry)}")
            continue
        for index, (field, value) in enumerate(shared_fields(entry).items()):
            lines.append(f"{'  ' if index else '- '}{field}: {_flow(value)}")
        lines += ["  rows:", *(f"  - {_flow(row)}" for row in entry["rows"])]
    return "\n".join(lines) + "\n"


def _flow(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
