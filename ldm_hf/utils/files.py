"""Cache folders, and files that are written whole or not at all."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants


def cache_folder() -> Path:
    """The cache folder: ``$LDM_HF_CACHE``, or ``ldm_hf`` in the Hugging Face home."""
    return Path(os.environ.get("LDM_HF_CACHE", Path(constants.HF_HOME) / "ldm_hf"))


def environments_folder() -> Path:
    """The folder of isolated libraries' virtual environments: ``$LDM_HF_ENVIRONMENTS``, or in the cache folder."""
    return Path(os.environ.get("LDM_HF_ENVIRONMENTS", cache_folder() / "environments"))


def save_json(results: Mapping[str, object], path: str | Path) -> None:
    """Writes results as JSON, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=2, allow_nan=False)
    # a list of numbers goes on one line
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda numbers: re.sub(r"\s+", " ", numbers.group()), text)
    write_atomically(path, text + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Writes a text; a crash leaves the old file or the new one, never half of one."""
    with unfinished_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def unfinished_file(path: Path) -> Iterator[Path]:
    """The path of a file to write, which becomes ``path`` when the block ends and is removed if the block fails."""
    temporary = path.with_name(f".{path.name}.unfinished")
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


@contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which becomes ``path`` when the block ends and is removed if the block fails.

    Each caller gets a folder of its own, so that several processes may make the same one: the first wins.

    Raises:
        OSError: if ``path`` is a folder that is not empty by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=path.parent))
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
