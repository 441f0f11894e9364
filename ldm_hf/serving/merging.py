"""Encoded steps of different environments as one batch of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..layout_ldm import EncodedSteps
from ..processing_ldm import LDMProcessor


def merge(processor: LDMProcessor, encoded: Sequence[EncodedSteps]) -> dict[str, torch.Tensor]:
    """The inputs of the model for the lanes of several environments, one after another.

    Args:
        processor: the processor saved with the model.
        encoded: one step of the lanes of each environment, with task texts ``(B, k)``.
    """
    if len(encoded) == 1:
        return dict(processor(encoded[0]))
    counts = [steps.length for steps in encoded]
    starts = np.cumsum([0, *counts])
    batch = {
        "feedback": np.concatenate([steps.feedback for steps in encoded])[:, None],
        "signature": _wide([np.tile(steps.layout.signature, (steps.length, 1)) for steps in encoded]),
        "task": _wide([steps.task for steps in encoded]),
        "element_rows": np.repeat(
            np.arange(starts[-1]), np.repeat([len(steps.layout.actions.sizes) for steps in encoded], counts)
        ),
        "element_ids": np.concatenate([np.tile(steps.layout.actions.ids, steps.length) for steps in encoded]),
        "element_sizes": np.concatenate([np.tile(steps.layout.actions.sizes, steps.length) for steps in encoded]),
    }
    over_time = {
        "numeric": [steps.observation.numeric for steps in encoded],
        "raw_numeric": [steps.observation.raw_numeric for steps in encoded],
        "categorical": [steps.categorical for steps in encoded],
        "action_numeric": [steps.action_numeric for steps in encoded],
    }
    batch |= {name: _wide(rows)[:, None] for name, rows in over_time.items() if any(row.shape[1] for row in rows)}
    pictures = {
        "grid": [(steps.observation.grid, steps.observation.grid_slots) for steps in encoded],
        "pixel": [(steps.observation.pixels, steps.observation.pixel_slots) for steps in encoded],
    }
    for name, found in pictures.items():
        present = [
            (array, slots, start) for (array, slots), start in zip(found, starts, strict=False) if array is not None
        ]
        if present:
            batch["pixels" if name == "pixel" else name] = _pictures([array for array, _, _ in present])
            rows = [start + np.tile(np.arange(array.shape[1]), len(slots)) for array, slots, start in present]
            batch[f"{name}_rows"] = np.concatenate(rows)
            batch[f"{name}_slots"] = np.concatenate([slots.repeat(array.shape[1]) for array, slots, _ in present])
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _wide(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows ``(B, k)`` of several widths below each other, filled up with zeros, which add nothing."""
    wide = np.zeros((sum(map(len, rows)), max(row.shape[1] for row in rows)), rows[0].dtype)
    start = 0
    for row in rows:
        wide[start : start + len(row), : row.shape[1]] = row
        start += len(row)
    return wide


def _pictures(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Tiles ``(G, B, S, S, C)`` or images ``(P, B, 3, size, size)`` in a row, each a step of its own."""
    flat = [array.reshape(-1, 1, *array.shape[2:]) for array in arrays]
    channels = max(array.shape[-1] for array in flat)  # of tiles; all images have one size
    fill = [[(0, 0)] * (array.ndim - 1) + [(0, channels - array.shape[-1])] for array in flat]
    return np.concatenate([np.pad(array, pad) for array, pad in zip(flat, fill, strict=True)])
