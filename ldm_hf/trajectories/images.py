"""Images that a shard holds as files (PNG, JPEG, ...), one a step, as `datasets.Image` stores them.

Plain bytes are raw pixels.
"""

from __future__ import annotations

import io
import math

import numpy as np
import pyarrow as pa

from ..errors import DatasetError, MissingExtraError
from .schema import Column

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # others may start other programs
MOST_PIXELS = 2**25


def holds_files(column: Column, kind: pa.DataType) -> bool:
    """Whether a column of images is stored as files."""
    if column.dtype != np.uint8 or len(column.shape) not in (2, 3) or not pa.types.is_list(kind):
        return False
    return bool(pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index("bytes") >= 0)


def decode_files(column: Column, files: pa.Array, where: str) -> np.ndarray:
    """Decodes the images of all steps; a space with channels first gets them first.

    Args:
        column: the column of the images.
        files: one struct with ``bytes`` a step.
        where: name of the shard and column, for messages.

    Returns:
        Pixels ``(N, *shape)``.

    Raises:
        DatasetError: if a file is no image or has another size than the space.
        MissingExtraError: if Pillow is not installed.
    """
    images = np.empty((len(files), *column.shape), np.uint8)
    for step, data in enumerate(files.field("bytes").to_pylist()):
        image = decode_image(data, f"{where}, step {step}", math.prod(column.shape))
        fitting = [view for view in _views(image) if view.shape == column.shape]
        if not fitting:
            raise DatasetError(f"{where}, step {step}: an image of shape {image.shape}, expected {column.shape}.")
        images[step] = fitting[0]
    return images


def decode_image(data: bytes, where: str, most: int = MOST_PIXELS) -> np.ndarray:
    """Decodes an image of one of `FORMATS`.

    Args:
        data: content of the file.
        where: where it is from, for messages.
        most: pixels that it may have; one that claims more is not decoded.

    Returns:
        Pixels ``(height, width)`` or ``(height, width, channels)``.

    Raises:
        DatasetError: if it is no image, or too large.
        MissingExtraError: if Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("Pillow", "images") from None
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        fits = math.prod(image.size) <= most
        pixels = np.asarray(image) if fits else np.zeros(0)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises whatever damaged files make it raise
        raise DatasetError(f"{where}: not an image ({error}).") from error
    if not fits:
        raise DatasetError(f"{where}: an image of {image.size} pixels, more than {most:,}.")
    return pixels


def _views(image: np.ndarray) -> list[np.ndarray]:
    """An image in the layouts that a space may have: channels last or first; a grey one also with an axis for them."""
    if image.ndim == 2:
        return [image, image[..., None], image[None]]
    return [image, image.transpose(2, 0, 1)]
