"""What generators share."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium

from .making import quiet
from .specs import libraries


def registered(library: str, pattern: str = "") -> list[str]:
    """The ids that a library registers and that match a pattern from their beginning, sorted."""
    entry = libraries()[library]
    with quiet():
        module = importlib.import_module(entry["module"])
        if "register" in entry:
            getattr(module, entry["register"])()
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
