"""The repo of a model: weights, configuration, and code that runs without this package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers.dynamic_module_utils import get_relative_import_files

from .. import agent
from ..agent import load_model
from ..errors import CheckpointError
from ..utils.files import read_json, write_atomically, writing

TRAINING_FILES = ("training.json", "training_log.jsonl")
AUTO_MAPS = {  # where transformers looks for the classes of a repo that is loaded with ``trust_remote_code``
    "config.json": {
        "AutoConfig": "configuration_ldm.LDMConfig",
        "AutoModel": "modeling_ldm.LDMForActionPrediction",
    },
    "processor_config.json": {"AutoProcessor": "processing_ldm.LDMProcessor"},
}


def export_model(model: str | Path, folder: str | Path) -> Path:
    """Writes the repo of a model: weights in bfloat16, configuration, processor, code, record of training.

    The weights are loaded in float32 again (what CPUs are fast in), unless ``dtype`` says otherwise. Results belong to
    the rounded weights, so evaluate the exported folder.

    Args:
        model: Folder or Hub id of a pretrained model.
        folder: Folder to write; other files in it stay.

    Raises:
        CheckpointError: If there is no usable model, or ``folder`` is its own folder.
        LDMError: If ``folder`` cannot be written.
    """
    folder = Path(folder)
    if Path(model).resolve() == folder.resolve():
        raise CheckpointError(f"{folder} is the model itself; export it to another folder.")
    weights, processor = load_model(model)
    with writing(folder / "config.json"):
        weights.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
        processor.save_pretrained(folder)
        _amend(folder / "config.json", {"dtype": "float32"})
        write_code(folder)
        for name in TRAINING_FILES:
            if (Path(model) / name).exists():
                shutil.copy(Path(model) / name, folder / name)
    return folder


def write_code(folder: Path) -> None:
    """Writes the code that acts beside a saved model, and into its configuration where the classes are."""
    # the agent needs all the rest: processor, model, their configuration
    for source in (agent.__file__, *get_relative_import_files(agent.__file__)):
        shutil.copyfile(source, folder / Path(source).name)
    for name, auto_map in AUTO_MAPS.items():
        if (folder / name).exists():
            _amend(folder / name, {"auto_map": auto_map})


def _amend(path: Path, fields: dict[str, object]) -> None:
    try:
        told = read_json(path) | fields
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); save the model again.") from error
    write_atomically(path, json.dumps(told, indent=2) + "\n")
