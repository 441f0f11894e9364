"""The repo of a model: weights, configuration, and code that runs without this package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..agent import load_model
from ..configuration_ldm import LDMConfig
from ..errors import CheckpointError
from ..modeling_ldm import LDMForActionPrediction
from ..processing_ldm import LDMProcessor

TRAINING_FILES = ("training.json", "training_log.jsonl")


AUTO_CLASSES: dict[type, str] = {
    LDMForActionPrediction: "AutoModel",
    LDMConfig: "AutoConfig",
    LDMProcessor: "AutoProcessor",
}


@contextmanager
def shipped_code() -> Iterator[None]:
    """What is saved meanwhile takes the modelling files along, for ``trust_remote_code``."""
    for part, auto_class in AUTO_CLASSES.items():
        part.register_for_auto_class(auto_class)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for part in AUTO_CLASSES:
            part._auto_class = None  # type: ignore[attr-defined]


def export_model(model: str | Path, folder: str | Path) -> Path:
    """Writes what a repo of a model needs: weights in bfloat16, configuration, processor, modelling files, and how it was trained.

    The weights are loaded in float32 again (what CPUs are fast in), unless ``dtype`` says otherwise. Results belong to the rounded weights, so
    evaluate the exported folder.

    Args:
        model: folder or Hub id of a pretrained model.
        folder: to write to; other files in it stay.

    Raises:
        CheckpointError: if there is no usable model, or ``folder`` is its own folder.
    """
    folder = Path(folder)
    if Path(model).resolve() == folder.resolve():
        raise CheckpointError(f"{folder} is the model itself; export it to another folder.")
    weights, processor = load_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    with shipped_code():
        weights.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
        processor.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in TRAINING_FILES:
        if (Path(model) / name).exists():
            shutil.copy(Path(model) / name, folder / name)
    return folder
