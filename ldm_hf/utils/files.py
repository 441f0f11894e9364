"""Cache folders, files of JSON and YAML, and files that are written whole or not at all."""

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import constants
from safetensors import SafetensorError

from ..errors import UnwritableError

LARGEST = 2**27  # bytes of a file of JSON or YAML; the index of 3,000 environments takes a tenth
NODES = 10**6  # values in a file of YAML, aliases counted as often as they occur
STALE = 24 * 3600.0  # seconds after which an unfinished file belongs to a process that was killed
# Every command loads the catalogue: the C loader, where it exists, is ten times as fast.
YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def cache_folder() -> Path:
    """The cache folder: ``$LDM_HF_CACHE``, or ``ldm_hf`` in the Hugging Face home."""
    return Path(os.environ.get("LDM_HF_CACHE", Path(constants.HF_HOME) / "ldm_hf"))


def environments_folder() -> Path:
    """The folder of isolated libraries' virtual environments: ``$LDM_HF_ENVIRONMENTS``, or in the cache folder."""
    return Path(os.environ.get("LDM_HF_ENVIRONMENTS", cache_folder() / "environments"))


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON, or larger than any that this package writes.
    """
    try:
        return json.loads(_read(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_yaml(path: Path, loader: Any = YamlLoader) -> Any:
    """The content of a YAML file, of plain values without tags.

    Args:
        path: the file.
        loader: a loader of the package yaml that makes plain values only.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no YAML, or larger than any that makes sense, also through aliases.
    """
    try:
        content = yaml.load(_read(path), loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, TypeError, AttributeError, LookupError, ArithmeticError) as error:  # of odd scalars
        raise ValueError(str(error)) from error
    count, waiting = 1, [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | set):
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            count += len(inner)
            if count > NODES:
                raise ValueError(f"it has more than {NODES:,} values")
            waiting += inner
    return content


def _read(path: Path) -> str:
    """The text of a file, unless it is too large."""
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"it has {size:,} bytes, more than the {LARGEST:,} that are read")
    return path.read_text(encoding="utf-8")


def save_json(results: Mapping[str, object], path: str | Path) -> None:
    """Writes results as JSON, whole or not at all.

    Raises:
        UnwritableError: if the file cannot be written.
    """
    text = json.dumps(results, indent=2, allow_nan=False)
    # a list of numbers goes on one line
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda numbers: re.sub(r"\s+", " ", numbers.group()), text)
    write_atomically(Path(path), text + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Writes a text; a crash leaves the old file or the new one, never half of one. Its folder is made.

    Raises:
        UnwritableError: if the file cannot be written.
    """
    with writing(path), unfinished_file(path) as temporary:
        # a path of the command line may hold bytes that are no text
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns errors of the disk while ``path`` is written into an `UnwritableError`. The folder of the path is made."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnwritableError(
            f"{path} cannot be written ({reason}); choose a place that can, or free some space."
        ) from error


def check_writable(path: str | Path) -> None:
    """Checks, before the work begins, that a file can be written in the end.

    Raises:
        UnwritableError: if it cannot.
    """
    path = Path(path)
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        probe = path.with_name(f".unfinished-{secrets.token_hex(8)}")
        probe.touch()
        probe.unlink()


@contextmanager
def unfinished_file(path: Path) -> Iterator[Path]:
    """The path of a file to write, which becomes ``path`` when the block ends and is removed if the block fails.

    Each caller gets a path of its own, so that several processes may write the same file: the last one wins.
    """
    _remove_stale(path.parent)
    temporary = path.with_name(f".unfinished-{secrets.token_hex(8)}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which becomes ``path`` when the block ends and is removed if the block fails.

    Each caller gets a folder of its own, so that several processes may make the same one: the first wins.

    Raises:
        OSError: if ``path`` is a folder that is not empty by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path.parent)
    temporary = path.with_name(f".unfinished-{secrets.token_hex(8)}")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    """Removes what processes that were killed have left unfinished."""
    for left in (*folder.glob(".unfinished-*"), *folder.glob(".tmp??????")):  # the latter are safetensors'
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
