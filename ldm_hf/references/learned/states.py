"""What learners keep of an interrupted training, beside the policy: files of arrays, read with care."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ...errors import CheckpointError, short
from ...utils.files import unfinished_file, writing

SEARCH, LABELS = "ars.safetensors", "labels.safetensors"  # of `LinearSearch` and `Distillation`
STATES = (SEARCH, LABELS)
SAVING_SECONDS = 10.0  # between two savings


def save_state(parts: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes arrays, all or none of them."""
    with writing(path), unfinished_file(path) as unfinished:
        save_file(dict(parts), unfinished)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file makes its reader raise into one message.

    Raises:
        CheckpointError: if anything goes wrong inside; says what to remove.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged ({short(error)}); remove it, and the training begins anew."
        ) from error
