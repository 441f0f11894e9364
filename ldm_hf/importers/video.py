"""Pictures of a video file, by time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import DatasetError, MissingExtraError


def frames_between(path: Path, begin: float, count: int, fps: float) -> list[Image.Image]:
    """Decodes some pictures of a video file.

    Args:
        path: path of the file.
        begin: time of the first picture in seconds.
        count: number of pictures.
        fps: pictures per second.

    Raises:
        MissingExtraError: if PyAV is not installed.
        DatasetError: if the file is damaged, or has no picture within half a frame of one of these times.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "import") from error
    found: dict[int, Image.Image] = {}
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.time_base is not None
            container.seek(int(begin / stream.time_base), stream=stream)  # to the key frame before it
            for frame in container.decode(stream):
                number = round((float(frame.time) - begin) * fps)
                if 0 <= number < count:
                    found[number] = _picture(frame)
                if number >= count - 1:
                    break
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DatasetError(f"{path} is missing or damaged ({error}); fetch the dataset again.") from error
    missing = [number for number in range(count) if number not in found]
    if missing:
        raise DatasetError(
            f"{path} has no picture at second {begin + missing[0] / fps:.3f} ({len(missing)} of {count} are missing)."
        )
    return [found[number] for number in range(count)]


def _picture(frame: Any) -> Image.Image:
    """A frame as a picture; depth keeps its 16 bits."""
    if frame.format.name.startswith("gray") and frame.format.components[0].bits > 8:
        return Image.fromarray(frame.to_ndarray(format="gray16le"))
    picture: Image.Image = frame.to_image()
    return picture
