"""The files of a model's weights: safetensors only, and as many as the model needs."""

from __future__ import annotations

from pathlib import Path

from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file, get_checkpoint_shard_files

from ..errors import short
from .files import read_json

MOST_PER_BYTE = 8  # parameters of a model for each byte of its weights; more would be made up, and take memory


def check_weights(path_or_repo: str | Path, parameters: int) -> None:
    """Checks that there are weights for a model before memory is taken for it.

    Args:
        path_or_repo: folder or Hub id of the model.
        parameters: number of parameters that its configuration describes.

    Raises:
        OSError: if there are no weights in safetensors.
        ValueError: if they are by far too few.
    """
    size = weight_bytes(path_or_repo)
    if parameters > MOST_PER_BYTE * size:
        raise ValueError(f"config.json describes about {parameters:,} parameters, but the weights have {size:,} bytes")


def weight_bytes(path_or_repo: str | Path) -> int:
    """Size of the weights of a model, in a folder or on the Hub, whence they are fetched.

    Raises:
        OSError: if there are none in safetensors.
        ValueError: if their index is damaged.
    """
    place = str(path_or_repo)
    whole = cached_file(place, SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False)
    if whole is not None:
        return Path(whole).stat().st_size
    index = cached_file(place, SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False)
    if index is None:
        raise OSError(f"it has no {SAFE_WEIGHTS_NAME}; weights in other formats are not read")
    names = set(read_json(Path(index))["weight_map"].values())
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"{SAFE_WEIGHTS_INDEX_NAME} names the file {short(outside[0])}")
    parts, _ = get_checkpoint_shard_files(place, index)
    return sum(Path(part).stat().st_size for part in parts)
