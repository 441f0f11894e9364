"""What identifies the data of a source: digests of content, the same in every format.

A file that is exported again, corrected, has other bytes even where its name and size stay. An import is only
continued with data of the same identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DatasetError
from ..spaces import Json

DIGEST_BYTES = 16


def file_digest(path: Path) -> str:
    """The digest of a file's content.

    Raises:
        DatasetError: if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error}).") from error


def files_identity(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Digests of files by their path below ``root``, sorted."""
    return {path.relative_to(root).as_posix(): file_digest(path) for path in sorted(paths)}


def folder_identity(folder: Path) -> dict[str, str]:
    """Digests of all files of a folder; hidden ones, such as caches, do not count."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return files_identity(
        folder, (path for path in paths if not any(part[0] == "." for part in path.relative_to(folder).parts))
    )


def value_identity(values: object) -> str:
    """The digest of nested Python values: dicts, lists, arrays, pictures, numbers, texts."""
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    _take_in(values, found)
    return found.hexdigest()


def _take_in(value: object, found: hashlib.blake2b) -> None:
    """Adds a value to a digest; kinds and lengths are added, too, so that other values give other bytes."""
    if isinstance(value, Mapping):
        found.update(f"dict{len(value)}".encode())
        for key in sorted(value, key=str):
            _take_in(str(key), found)
            _take_in(value[key], found)
    elif isinstance(value, str | bytes):
        content = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        found.update(f"{type(value).__name__}{len(content)}:".encode() + content)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"array{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Image.Image):
        _take_in(np.asarray(value), found)
    elif isinstance(value, Iterable):
        parts = list(value)
        found.update(f"list{len(parts)}".encode())
        for part in parts:
            _take_in(part, found)
    else:
        found.update(f"{type(value).__name__}{value!r};".encode())


def sorted_text(value: object) -> str:
    """Metadata as a text; what has no order (a set of authors) is sorted, so that each run writes the same."""
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return ", ".join(sorted(map(str, value)))
    return str(value)


def hub_commits(checksums: Mapping[str, Json] | None) -> list[str]:
    """The commits of a Hub dataset, as the addresses of its files (``hf://datasets/name@commit/file``) tell them."""
    addresses = [address.partition("@")[2].partition("/")[0] for address in checksums or {} if "://" in address]
    return sorted({commit for commit in addresses if len(commit) == 40})
