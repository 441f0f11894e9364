"""Writes what the generators yield into files that a person can read and edit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ...errors import UnknownEnvironmentError
from ...libraries.ale_py import rows as games
from ...libraries.dm_control import rows as robotics
from ...libraries.minigrid import rows as grid_worlds
from ...libraries.mo_gymnasium import rows as operations
from ...libraries.panda_gym import rows as extra
from ...libraries.rware import rows as teams
from ..specs import FOLDER, LIBRARIES, libraries, read_rows

Group = dict[str, Any]  # "rows", and beside it what all of them share

# Functions without arguments that yield groups, by library.
GENERATORS: dict[str, Callable[[], Iterator[Group]]] = (
    extra.GENERATORS
    | games.GENERATORS
    | grid_worlds.GENERATORS
    | operations.GENERATORS
    | robotics.GENERATORS
    | teams.GENERATORS
)


def generate_rows(library: str, folder: Path) -> tuple[Path, int, int]:
    """Writes the rows of a library into ``<folder>/<library>.yaml``.

    Rows that are in the file already stay as they are, since they may have been edited; what stands in ``catalogue/*.yaml`` is left out.

    Args:
        library: a key of ``libraries.yaml`` and of `GENERATORS`.
        folder: usually ``catalogue/libraries``.

    Returns:
        The file, how many rows were added, how many there are.

    Raises:
        UnknownEnvironmentError: if there is no generator for the library.
    """
    if library not in GENERATORS:
        raise UnknownEnvironmentError(
            f"no rows are generated for {library!r}; there are generators for {', '.join(GENERATORS)}"
        )
    path = folder / f"{library}.yaml"
    groups: list[Group] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []
    by_hand = [row for file in FOLDER.glob("*.yaml") if file != LIBRARIES for row in read_rows(file)]
    taken = {row["name"] for row in by_hand} | {row["name"] for group in groups for row in group["rows"]}
    same = {_identity(row) for row in by_hand}
    added = 0
    for group in GENERATORS[library]():
        shared = {"library": library} | {field: value for field, value in group.items() if field != "rows"}
        rows = [row for row in group["rows"] if row["name"] not in taken and _identity(shared | row) not in same]
        if not rows:
            continue
        there = next((other for other in groups if {**other, "rows": None} == shared | {"rows": None}), None)
        if there is None:
            groups.append(there := shared | {"rows": []})
        there["rows"] += rows
        added += len(rows)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_to_yaml(library, groups), encoding="utf-8")
    return path, added, sum(len(group["rows"]) for group in groups)


def _identity(row: dict[str, Any]) -> str:
    parts = [row.get("env_id", row["name"]), row.get("kwargs", {}), row.get("wrappers", [])]
    return json.dumps(parts, sort_keys=True)


def _to_yaml(library: str, groups: list[Group]) -> str:
    """One line a row."""
    lines = [
        f"# Written by `ldm envs generate {library}`, which adds what is missing and changes nothing that is here: edit it, or delete it and start anew.",
        f"# Licence of the library: {libraries()[library]['licence']}.",
    ]
    for group in groups:
        shared = {field: value for field, value in group.items() if field != "rows"}
        for index, (field, value) in enumerate(shared.items()):
            lines.append(f"{'  ' if index else '- '}{field}: {_flow(value)}")
        lines.append("  rows:")
        lines += [f"  - {_flow(row)}" for row in group["rows"]]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
