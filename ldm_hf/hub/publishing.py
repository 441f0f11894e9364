"""Puts a folder on the Hugging Face Hub: a model, a dataset or a Space."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from ..errors import LDMError
from ..trajectories import write_readme
from ..trajectories.remote import write_index
from ..trajectories.streams import config_names
from .export import AUTO_MAPS, write_code

HIDDEN = [".*", "**/.*"]
LEFT_HERE = {  # by kind of repo; an environment may have the name of a checkpoint
    "model": [*HIDDEN, "checkpoint-*", "checkpoint-*/**", "unfinished-*", "unfinished-*/**"],
    "dataset": HIDDEN,
    "space": [*HIDDEN, "**/__pycache__/**", "__pycache__/**"],
}
PACKAGE = Path(__file__).parents[1]


def push(folder: str | Path, repo_id: str, private: bool = False) -> str:
    """Uploads a folder; the repo is made if there is none. Files that are there already are not sent again.

    A model gets the code that runs without this package (``trust_remote_code``). A dataset gets a new card, with
    loading code that names the repo, and an index, so that training can begin before all of it is downloaded.
    Checkpoints and unfinished files are not uploaded. A Space gets this package, which its ``app.py`` imports.

    Args:
        folder: Folder of a model (``config.json``), of a trajectory dataset, or of a Space (``app.py``).
        repo_id: ``organisation/name``.
        private: If the repo is new, only its owners see it.

    Returns:
        The address of the last commit.

    Raises:
        LDMError: If the folder is none of them, or the Hub refuses.
    """
    folder = Path(folder)
    if (folder / "config.json").exists():
        kind = "model"
    elif (folder / "app.py").exists():
        kind = "space"
    elif any(folder.glob("*/environment.json")):
        kind = "dataset"
        write_index(folder, config_names(folder))
        write_readme(folder, repo_id=repo_id)
    else:
        raise LDMError(
            f"{folder} is neither a model (no config.json) nor a trajectory dataset "
            "(no <environment>/environment.json) nor a Space (no app.py)."
        )
    api = HfApi()
    try:
        sdk = "gradio" if kind == "space" else None
        repo = api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True, space_sdk=sdk).repo_id
        with tempfile.TemporaryDirectory() as scratch:
            code = _with_code(folder, Path(scratch)) if kind == "model" else []
            parts = [(folder, LEFT_HERE[kind] + code, "")]
            if code:
                parts.append((Path(scratch), [], ""))
            if kind == "space":  # first, so that what starts then finds it
                parts.insert(0, (PACKAGE, LEFT_HERE[kind], PACKAGE.name))
            for part, ignored, place in parts:
                commit = api.upload_folder(
                    repo_id=repo,
                    repo_type=kind,
                    folder_path=part,
                    path_in_repo=place,
                    ignore_patterns=ignored,
                    commit_message=f"Upload {kind} with ldm_hf",
                )
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        raise LDMError(
            f"{repo_id} could not be uploaded: {str(error).strip().splitlines()[0]} "
            "Log in with `hf auth login`, and try again: what was sent stays there."
        ) from error
    return commit.commit_url


def _with_code(folder: Path, scratch: Path) -> list[str]:
    """Makes the code of a model and the configuration that refers to it; returns the names of these files."""
    for name in AUTO_MAPS:
        if (folder / name).exists():
            shutil.copy(folder / name, scratch)
    write_code(scratch)
    return [path.name for path in scratch.iterdir()]
