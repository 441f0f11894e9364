"""Where things are kept that can be made again."""

import os
from pathlib import Path

from huggingface_hub import constants


def cache_folder() -> Path:
    """``$LDM_HF_CACHE``, or ``ldm_hf`` in the Hugging Face home."""
    return Path(os.environ.get("LDM_HF_CACHE", Path(constants.HF_HOME) / "ldm_hf"))


def environments_folder() -> Path:
    """Of the virtual environments of isolated libraries: ``$LDM_HF_ENVIRONMENTS``, or ``environments`` in the cache."""
    return Path(os.environ.get("LDM_HF_ENVIRONMENTS", cache_folder() / "environments"))
