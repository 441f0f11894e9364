"""Cache folders, and files that are written whole or not at all."""

import json
import os
import re
from collections.abc import Mapping
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
    """Writes a text file, so that a crash leaves the old file or the new one, never half of one."""
    temporary = path.with_name(f".{path.name}.unfinished")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
