"""Figures as PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MissingExtraError

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
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="eval") from error
    figure = Figure(figsize=size, layout="constrained")
    yield figure
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, format="png")
