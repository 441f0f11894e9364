"""Figures as PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MissingExtraError
from .files import unfinished_file, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def png_figure(path: str | Path, size: tuple[float, float], dpi: int = 150) -> Iterator[Figure]:
    """A figure to draw in, which is saved when the block ends. It needs no display and keeps no global state.

    Args:
        path: PNG file to write; its folder is made.
        size: Width and height in inches.
        dpi: Pixels per inch.

    Raises:
        MissingExtraError: without matplotlib.
        LDMError: if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="eval") from error
    figure = Figure(figsize=size, layout="constrained")
    yield figure
    with writing(path), unfinished_file(Path(path)) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png")
