"""Pictures of environments: what drawing needs where there is no screen, labelled tiles, and videos as MP4 or GIF."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LDMError, MissingExtraError
from ..utils.files import writing

CAPTION = 16  # pixels under a tile
WIDEST = 2.0  # width of a tile's picture by its height; wider ones lose their sides
COLOURS = 128  # of a GIF; all frames share them, so that what stands still costs nothing
SAMPLED = 8  # frames that these colours are chosen from
SOFTWARE_RENDERERS = {
    "egl": ("EGL", "libegl1"),
    "osmesa": ("OSMesa", "libosmesa6"),
}  # MUJOCO_GL: library, Debian package
NONE = "disabled"  # MuJoCo's word for it: drawing raises an error, where GLFW without a screen ends the process
CURE = "MuJoCo draws without a screen by MUJOCO_GL=egl (Debian package libegl1) or MUJOCO_GL=osmesa (libosmesa6)"


def prepare_drawing() -> None:
    """Lets SDL and MuJoCo draw where there is no screen; ``SDL_VIDEODRIVER`` and ``MUJOCO_GL`` of the user's win.

    Raises:
        LDMError: if ``MUJOCO_GL`` names a renderer whose library is not installed.
    """
    chosen = os.environ.get("MUJOCO_GL", "")
    if chosen in SOFTWARE_RENDERERS and not find_library(SOFTWARE_RENDERERS[chosen][0]):
        library, package = SOFTWARE_RENDERERS[chosen]
        raise LDMError(
            f"MUJOCO_GL={chosen} needs lib{library}, which is missing: install {package}, or unset MUJOCO_GL."
        )
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")  # "dummy" would leave highway-env's roads black
    if not chosen:
        found = (name for name, (library, _) in SOFTWARE_RENDERERS.items() if find_library(library))
        os.environ["MUJOCO_GL"] = next(found, NONE)


def drawing_error(name: str, error: Exception) -> LDMError | None:
    """What to say of an environment that MuJoCo could not draw; None if that is not the reason."""
    if os.environ.get("MUJOCO_GL") == NONE and "mujoco" in sys.modules:
        return LDMError(f"{name} cannot be drawn here ({type(error).__name__}: {error}). {CURE}.")
    return None


def pixels(drawn: object) -> np.ndarray:
    """The picture as uint8; real numbers are taken to be between 0 and 1."""
    frame = np.asarray(drawn)
    return frame if frame.dtype == np.uint8 else (255 * np.clip(frame, 0, 1)).astype(np.uint8)


def tile(frame: np.ndarray, name: str, side: int) -> np.ndarray:
    """A picture ``(side + CAPTION, side, 3)`` with its name below."""
    from PIL import Image, ImageDraw, ImageFont  # comes with imageio

    picture = Image.fromarray(frame).convert("RGB")
    if (surplus := picture.width - round(WIDEST * picture.height)) > 0:
        picture = picture.crop((surplus // 2, 0, picture.width - (surplus - surplus // 2), picture.height))
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (side, side + CAPTION))
    whole.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    draw = ImageDraw.Draw(whole)
    fonts = (ImageFont.load_default(size) for size in range(12, 6, -1))
    font = next((font for font in fonts if draw.textlength(name, font) <= side - 2), ImageFont.load_default(7))
    draw.text((side / 2, side + CAPTION / 2), name, fill="white", font=font, anchor="mm")
    return np.asarray(whole)


def side_by_side(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one size as a square of rows and columns, filled up with black."""
    columns = math.ceil(math.sqrt(len(tiles)))
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    return np.vstack([np.hstack(filled[row : row + columns]) for row in range(0, len(filled), columns)])


def write_video(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Writes ``.gif`` or whatever else imageio knows by its suffix.

    Raises:
        MissingExtraError: without imageio.
        LDMError: if the file cannot be written.
    """
    imageio = imageio_v3()
    with writing(path):
        if path.suffix == ".gif":
            _write_gif(path, frames, fps)
        else:
            imageio.imwrite(path, frames, fps=fps, macro_block_size=2)


def _write_gif(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    from PIL import Image

    chosen = frames[:: max(1, len(frames) // SAMPLED)]
    palette = Image.fromarray(np.concatenate(chosen)).quantize(COLOURS, Image.Quantize.MEDIANCUT)
    first, *others = (
        Image.fromarray(frame).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames
    )
    first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0)


def imageio_v3() -> Any:
    """The module that writes videos.

    Raises:
        MissingExtraError: without it.
    """
    try:
        import imageio.v3
    except ImportError as error:
        raise MissingExtraError("imageio", extra="eval") from error
    return imageio.v3
