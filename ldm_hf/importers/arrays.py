"""Values of consecutive steps as arrays, or one sentence that says why they are none."""

from __future__ import annotations

import numpy as np

from ..errors import DatasetError


def as_array(values: object, place: str, text: bool = False) -> np.ndarray:
    """Values of consecutive steps as an array.

    Raises:
        DatasetError: if steps differ in shape, or have none.
    """
    try:
        array = np.asarray(values, dtype=object) if text else np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise DatasetError(f"{place}: steps differ in shape ({str(error).splitlines()[0][:120]}).") from error
    if not array.ndim:
        raise DatasetError(f"{place} is one value, {array!r:.60}, instead of one for each step.")
    return array


def vector(values: object, place: str) -> np.ndarray:
    """One finite or infinite number a step, ``(T,)`` or ``(T, 1)``, as ``(T,)``.

    Raises:
        DatasetError: if there are more numbers, or none.
    """
    array = as_array(values, place)
    if array.ndim > 1 and array.size == len(array):
        array = array.reshape(-1)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise DatasetError(f"{place} should be one number a step, has shape {array.shape} and type {array.dtype}.")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def flags(values: object, place: str) -> np.ndarray:
    """One flag a step as ``(T,)`` bool.

    Raises:
        DatasetError: if a flag is neither true nor false, such as NaN or 0.5.
    """
    array = vector(values, place)
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        step = int(np.argmax(wrong))
        raise DatasetError(f"{place}: step {step} is {array[step]}, neither true nor false.")
    return np.asarray(array == 1)
