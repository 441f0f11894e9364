"""Which importer reads which format; each is imported when it is asked for."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from ..errors import DatasetError, MissingExtraError
from .base import Source

FORMATS = {
    "minari": "minari:MinariSource",
    "lerobot": "lerobot:LeRobotSource",
    "jat": "jat:JATSource",
    "decision-transformer": "decision_transformer:DecisionTransformerSource",
    "rlds": "rlds:RLDSSource",
    "d4rl": "d4rl:D4RLSource",
    "table": "table:TableSource",
}


def source_class(kind: str) -> type[Source]:
    """The importer of a format.

    Raises:
        DatasetError: if there is none; names those there are.
        MissingExtraError: if a library that it needs is not installed.
    """
    if kind not in FORMATS:
        raise DatasetError(f"there is no importer for {kind!r}; there are: {', '.join(FORMATS)}.")
    module, name = FORMATS[kind].split(":")
    try:
        return getattr(import_module(f".{module}", __package__), name)
    except ImportError as error:
        raise MissingExtraError(error.name or kind, "import") from error


def _options(importer: type[Source]) -> list[str]:
    return list(inspect.signature(importer.__init__).parameters)[2:]


def takes_spaces(kind: str) -> bool:
    """Whether a format brings no spaces of its own, so that those of an environment can be given."""
    return "spaces" in _options(source_class(kind))


def open_source(kind: str, source: Any, **options: Any) -> Source:
    """Opens somebody else's data.

    Args:
        kind: a key of `FORMATS`.
        source: what the importer takes: a file, a folder, a Hub id, a table.
        options: of the importer; None is not given.

    Raises:
        DatasetError: if there is no such format, an option is not one of its importer, or the data cannot be read.
    """
    importer: Any = source_class(kind)
    known = _options(importer)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            raise DatasetError(f"{kind} has no option {name!r}; it has: {', '.join(known) or 'none'}.")
    if kind == "table" and "columns" not in given:
        raise DatasetError("a table needs `columns`: a YAML file that says which column is what.")
    return importer(source, **given)
