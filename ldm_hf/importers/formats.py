"""The formats and their importers, each of which is imported when it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from ..errors import DatasetError, MissingExtraError
from .base import Source, reading

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
        DatasetError: if there is no such format; lists the formats.
        MissingExtraError: if a library that the importer needs is not installed.
    """
    if kind not in FORMATS:
        raise DatasetError(f"there is no importer for {kind!r}; there are: {', '.join(FORMATS)}.")
    module, name = FORMATS[kind].split(":")
    try:
        return cast(type[Source], getattr(import_module(f".{module}", __package__), name))
    except ImportError as error:
        raise MissingExtraError(error.name or kind, "import") from error


def _options(importer: type[Source]) -> list[str]:
    """Names of the parameters of an importer beside its source."""
    return list(inspect.signature(importer.__init__).parameters)[2:]


def takes_spaces(kind: str) -> bool:
    """Whether a format comes without spaces, so that those of an environment can be given."""
    return takes(kind, "spaces")


def takes(kind: str, option: str) -> bool:
    """Whether the importer of a format has an option."""
    return option in _options(source_class(kind))


def open_source(kind: str, source: object, **options: object) -> Source:
    """Opens data of another tool.

    Args:
        kind: a key of `FORMATS`.
        source: what the importer reads: a file, a folder, a Hub id, a table.
        options: parameters of the importer; those that are None count as not given.

    Raises:
        DatasetError: if there is no such format, its importer has no such option, or the data cannot be read.
    """
    importer = source_class(kind)
    known = _options(importer)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            raise DatasetError(f"{kind} has no option {name!r}; it has: {', '.join(known) or 'none'}.")
    if kind == "table" and "columns" not in given:
        raise DatasetError("a table needs `columns`: a YAML file that says which column is what.")
    place = str(source) if isinstance(source, str | Path) else "the source"
    with reading(place):
        return cast(Callable[..., Source], importer)(source, **given)
