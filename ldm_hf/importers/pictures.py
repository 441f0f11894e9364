"""Encoded pictures (PNG, JPEG, ...) as arrays."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import DatasetError
from ..trajectories.images import FORMATS

SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
KEPT = ("L", "RGB", "RGBA", "LA", "I;16", "I", "F")  # modes whose numbers are those of the file


def is_encoded(value: object) -> bool:
    """Whether a value is an encoded picture, or what `datasets` stores of one."""
    if isinstance(value, Mapping):
        return set(value) == {"bytes", "path"}
    if isinstance(value, bytes):
        return value.startswith(SIGNATURES) or value[8:12] == b"WEBP"
    return isinstance(value, Image.Image)


def decode(value: object, folder: Path | None, where: str) -> Image.Image:
    """A picture.

    Args:
        value: an opened picture, the bytes of a file, or ``{"bytes", "path"}``.
        folder: folder of the dataset, in which files that are only named by their path lie.
        where: episode and step, for messages.

    Raises:
        DatasetError: if it is no picture, or its file is missing or elsewhere.
    """
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        value = content if content is not None else _file(path, folder, where)
    if isinstance(value, bytes):
        try:
            value = Image.open(io.BytesIO(value), formats=FORMATS)
            value.load()
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DatasetError(
                f"{where} is no picture that can be read ({str(error)[:100]}); repair or drop it."
            ) from error
    if not isinstance(value, Image.Image):
        raise DatasetError(f"{where} has no picture; repair or drop it.")
    return value


def as_pixels(picture: Image.Image) -> np.ndarray:
    """A picture as an array ``(height, width)`` or ``(height, width, channels)``; palettes become their colours."""
    mode = picture.mode
    if mode not in KEPT:
        mode = (
            "L" if mode == "1" else "I;16" if mode.startswith("I;16") else "RGBA" if _transparent(picture) else "RGB"
        )
        picture = picture if mode == "I;16" else picture.convert(mode)
    return np.asarray(picture)


def stack_pictures(cells: Sequence[object], folder: Path | None, where: str) -> np.ndarray:
    """The pictures of all steps ``(T, height, width, ...)``.

    Raises:
        DatasetError: if one cannot be read, or differs from the first in size or kind; names the step.
    """
    arrays = [as_pixels(decode(cell, folder, f"{where}, step {step}")) for step, cell in enumerate(cells)]
    for step, array in enumerate(arrays):
        if (array.shape, array.dtype) != (arrays[0].shape, arrays[0].dtype):
            raise DatasetError(
                f"{where}, step {step} has a picture of {array.shape} ({array.dtype}), step 0 one of {arrays[0].shape} "
                f"({arrays[0].dtype}); bring them to one size and kind, or drop this episode."
            )
    return np.stack(arrays)


def _transparent(picture: Image.Image) -> bool:
    return "transparency" in picture.info or picture.mode in ("PA", "La", "RGBa")


def _file(path: object, folder: Path | None, where: str) -> bytes:
    """The bytes of a picture that is only named by its path; files outside of the dataset are not opened."""
    if not isinstance(path, str) or folder is None:
        raise DatasetError(f"{where} has no picture, only {path!r}; embed the pictures, or drop it.")
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise DatasetError(f"{where}: there is no picture {path!r} in {folder}; put it there, or embed the pictures.")
    return found.read_bytes()
