"""Turns the leaves of an observation into the arrays that the stems of the model read, for many lanes or steps at once.

Every leaf becomes one of five kinds, chosen by its shape and range (`leaf_kind`):

===========  ===========================================================  ============================================
kind         leaves                                                       array (N = lanes or time steps)
===========  ===========================================================  ============================================
numeric      float Box, integer Box of a large range                      scalars, standardised and raw, ``(N, n)``
categorical  Discrete, few-valued integer Box, MultiDiscrete, MultiBinary ids ``(N, k)``
text         Text                                                         ids of words and word pairs, ``(N, k)``
grid         arrays of symbols: MiniGrid views, MinAtar, glyph maps       symbol ids in tiles, ``(G, N, S, S, C)``
pixels       image-like Box (uint8 or bounded float, both sides >= 16)    uint8 images, ``(P, N, 3, size, size)``
===========  ===========================================================  ============================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from gymnasium import spaces

from .errors import SpaceMismatchError, UnsupportedSpaceError
from .hashing import fold, key, text_ids
from .spaces import Arrays, Leaf, Member, Space, leaf_array, leaves

MAX_CATEGORICAL = 16  # more symbols than this in one leaf are a grid
MIN_PIXELS = 16  # a smaller "image" (MiniGrid's 7x7x3 uint8) holds symbols
MAX_SYMBOLS = 2**20  # of a grid: beyond, the embedded tiles of one step take gigabytes
CLIP = 10.0  # standardised values beyond ten standard deviations carry no more information


def spatial_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes (height, width) of an array of rank 2 to 4; the remaining axes are channels or stacked frames."""
    if len(shape) == 2:
        return (0, 1)
    return (len(shape) - 2, len(shape) - 1) if shape[-3] < shape[-1] else (len(shape) - 3, len(shape) - 2)


def _is_image(space: spaces.Box) -> bool:
    if not 2 <= len(space.shape) <= 4 or min(space.shape[axis] for axis in spatial_axes(space.shape)) < MIN_PIXELS:
        return False
    if 0 in space.shape:  # no channels
        return False
    low, high = space.low.min(), space.high.max()
    if space.dtype == np.uint8:
        return bool(high == 255)
    return bool(np.issubdtype(space.dtype, np.floating) and (low, high) in ((0, 1), (0, 255), (-1, 1)))


def leaf_kind(space: Space) -> str:
    """Chooses the kind of a leaf, one of the table above, by its shape and range."""
    if isinstance(space, spaces.Text):
        return "text"
    if isinstance(space, spaces.Discrete):
        return "categorical"
    size = math.prod(space.shape or ())
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return "categorical" if size <= MAX_CATEGORICAL else "grid"
    assert isinstance(space, spaces.Box)
    if _is_image(space):
        return "pixels"
    if np.issubdtype(space.dtype, np.floating) or not size:
        return "numeric"
    values = int(space.high.max()) - int(space.low.min()) + 1
    few = "categorical" if size <= MAX_CATEGORICAL else "grid"
    if len(space.shape) >= 2:
        # maps: glyphs go up to 5,976 in NetHack
        return few if values <= (8192 if len(space.shape) == 3 else 256) else "numeric"
    # rows of numbers: a long row of many-valued integers (Atari's memory) holds quantities, not symbols
    return few if values <= (16 if size > MAX_CATEGORICAL else 64) else "numeric"


@dataclass(frozen=True)
class ObservationLimits:
    """The sizes that the processor and the stems of the model share; see [`LDMConfig`][]."""

    bag_buckets: int
    grid_buckets: int
    grid_size: int
    image_size: int
    max_numeric: int
    max_text_tokens: int


@dataclass
class Encoded:
    """Encoded observations of one environment, ``N`` steps or lanes.

    Args:
        numeric: standardised numbers, ``(N, n)`` float32.
        raw_numeric: arcsinh of the unscaled numbers, ``(N, n)`` float32.
        categorical: ids of choices and words, ``(N, k)`` int64; 0 is padding.
        grid: ids of symbols in tiles, ``(G, N, S, S, C)`` int32; 0 is padding.
        pixels: images, ``(P, N, 3, size, size)`` uint8.
        grid_slots: keys that distinguish the tiles of a step, ``(G,)``.
        pixel_slots: keys that distinguish the images of a step, ``(P,)``.
    """

    numeric: np.ndarray
    raw_numeric: np.ndarray
    categorical: np.ndarray
    grid: np.ndarray | None = None
    pixels: np.ndarray | None = None
    grid_slots: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    pixel_slots: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


class _CategoricalLeaf:
    def __init__(self, leaf: Leaf, limits: ObservationLimits) -> None:
        space = leaf.space
        self.path, self.size = leaf.path, math.prod(space.shape or ())
        low = space.low if isinstance(space, spaces.Box) else getattr(space, "start", 0)
        self.low = np.broadcast_to(np.asarray(low).astype(np.int64), space.shape or ()).reshape(-1)
        self.starts = np.array(
            [key("categorical", leaf.path, index) % (limits.bag_buckets - 1) for index in range(self.size)], np.int64
        )
        self.buckets = limits.bag_buckets

    def encode(self, values: np.ndarray) -> np.ndarray:
        flat = np.asarray(values, np.int64).reshape(len(values), self.size) - self.low
        return (self.starts + flat) % (self.buckets - 1) + 1


class _TextLeaf:
    def __init__(self, leaf: Leaf, limits: ObservationLimits) -> None:
        self.path, self.limits, self.start = leaf.path, limits, key("text", leaf.path)
        self.known: dict[str, np.ndarray] = {}

    def _ids(self, text: str) -> np.ndarray:
        ids = self.known.get(text)
        if ids is None:
            ids = text_ids(text, self.start, self.limits.bag_buckets, self.limits.max_text_tokens)
            # an environment that never repeats a text, or has long ones, must not fill the memory
            if len(self.known) >= 10_000:
                self.known.clear()
            if len(text) <= 1_000:
                self.known[text] = ids
        return ids

    def encode(self, values: np.ndarray) -> np.ndarray:
        if len(values) == 1:  # a single lane, which sorting would slow down
            return self._ids(str(values[0]))[None]
        texts, inverse = np.unique(np.asarray(values, dtype=str), return_inverse=True)
        return np.stack([self._ids(str(text)) for text in texts])[inverse.reshape(-1)]


class _GridLeaf:
    """Symbols ``(H, W, C)`` in tiles of ``S x S``; each (channel, value) has its own id."""

    def __init__(self, leaf: Leaf, limits: ObservationLimits) -> None:
        space, self.path, self.tile = leaf.space, leaf.path, limits.grid_size
        shape = space.shape or ()
        if math.prod(shape) > MAX_SYMBOLS:
            raise UnsupportedSpaceError(
                f"{type(space).__name__} at leaf '{leaf.path or '(root)'}' has {math.prod(shape):,} symbols, more than "
                f"{MAX_SYMBOLS:,}; make it smaller by a wrapper."
            )
        # int64 throughout: bounds of uint64 beyond it wrap around, as do the values, so that differences are right
        if isinstance(space, spaces.Box):
            self.low = space.low.min().astype(np.int64)
            values = int(space.high.max()) - int(space.low.min()) + 1
        else:
            self.low = np.asarray(getattr(space, "start", 0)).astype(np.int64)
            values = int(np.max(space.nvec)) if isinstance(space, spaces.MultiDiscrete) else 2
        self.axes = spatial_axes(shape) if len(shape) > 1 else None
        # an array of rank 1 fills rows as long as a tile
        height, width = (shape[axis] for axis in self.axes) if self.axes else (-(-shape[0] // self.tile), self.tile)
        self.area = (height, width)
        self.tiles = (-(-height // self.tile), -(-width // self.tile))
        self.channels = math.prod(shape) // (height * width) if self.axes else 1
        start, self.buckets = key("grid", leaf.path, shape), limits.grid_buckets
        self.largest = min(values - 1, np.iinfo(np.int64).max)
        # ids of the value 0 in each channel; a table of all values may not fit into the memory
        firsts = [(start + channel * values) % (self.buckets - 1) for channel in range(self.channels)]
        self.firsts = np.array(firsts, np.int64)
        self.slots = np.array([key("tile", leaf.path, index) for index in range(math.prod(self.tiles))], np.int64)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Encodes ``(N, *shape)`` as ``(tiles, N, S, S, C)``."""
        count, (rows, columns), size = len(values), self.tiles, self.tile
        values = np.asarray(values).astype(np.int64) - self.low
        if self.axes is None:
            lacking = math.prod(self.area) - values.shape[1]
            grid = np.pad(values, ((0, 0), (0, lacking)), constant_values=-1).reshape(count, *self.area, 1)
        else:
            grid = np.moveaxis(values, [axis + 1 for axis in self.axes], [1, 2]).reshape(count, *self.area, -1)
        ids = (self.firsts + np.clip(grid, 0, self.largest)) % (self.buckets - 1) + 1
        if self.axes is None:
            ids[grid < 0] = 0  # padding
        full = np.zeros((count, rows * size, columns * size, self.channels), np.int32)
        full[:, : ids.shape[1], : ids.shape[2]] = ids
        tiles = full.reshape(count, rows, size, columns, size, self.channels).transpose(1, 3, 0, 2, 4, 5)
        return tiles.reshape(rows * columns, count, size, size, self.channels)


class _PixelLeaf:
    """Images resized to a fixed square; channels beyond three (frame stacks) become further images."""

    def __init__(self, leaf: Leaf, limits: ObservationLimits) -> None:
        space, self.path, self.size = leaf.space, leaf.path, limits.image_size
        assert isinstance(space, spaces.Box)
        self.axes = spatial_axes(space.shape)
        self.low, self.high = float(space.low.min()), float(space.high.max())
        self.uint8 = space.dtype == np.uint8
        channels = math.prod(space.shape) // math.prod(space.shape[axis] for axis in self.axes)
        self.images = -(-channels // 3)
        self.slots = np.array([key("image", leaf.path, index) for index in range(self.images)], np.int64)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Encodes ``(N, *shape)`` as ``(images, N, 3, size, size)`` uint8."""
        if not self.uint8:
            with np.errstate(over="ignore"):  # infinity is clipped as well
                values = np.clip(
                    (np.asarray(values, np.float32) - self.low) * (255 / (self.high - self.low)), 0, 255
                ).astype(np.uint8)
        spatial = [axis + 1 for axis in self.axes]
        images = np.moveaxis(values, spatial, [-2, -1])
        pixels = images.reshape(len(values), -1, *images.shape[-2:])
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = _resize()(pixels, self.size)
        lacking = self.images * 3 - pixels.shape[1]
        if lacking:  # grey becomes three equal channels
            pixels = np.concatenate([pixels, np.repeat(pixels[:, -1:], lacking, axis=1)], axis=1)
        return pixels.reshape(len(values), self.images, 3, self.size, self.size).swapaxes(0, 1)


@lru_cache(maxsize=1)
def _resize() -> Callable[[np.ndarray, int], np.ndarray]:
    """Resizes images ``(N, C, H, W)`` uint8 to a square, smoothed: by torch, which is fast, or else by NumPy."""
    try:
        import torch
    except ImportError:  # an agent that runs by onnxruntime needs no torch
        return resize_by_numpy

    def resize(images: np.ndarray, size: int) -> np.ndarray:
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        resized: np.ndarray = torch.nn.functional.interpolate(
            pixels, (size, size), mode="bilinear", antialias=True
        ).numpy()
        return resized

    return resize


def resize_by_numpy(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes images ``(N, C, H, W)`` uint8 to a square as torch does (bilinear, antialias), equal in every bit.

    Like torch (and Pillow), it multiplies by whole numbers and rounds to bytes after each of the two axes.
    """
    pixels = images
    for axis in (-1, -2):
        if pixels.shape[axis] != size:
            weights, bits = _resampling(pixels.shape[axis], size)
            sums = pixels @ weights.T if axis == -1 else weights @ pixels
            pixels = np.floor((sums + 2.0 ** (bits - 1)) / 2.0**bits).clip(0, 255)
    return pixels.astype(np.uint8)


@lru_cache(maxsize=32)
def _resampling(before: int, after: int) -> tuple[np.ndarray, int]:
    """Weights ``(after, before)``, whole numbers in float64, and how many bits of them are behind the point."""
    scale = before / after
    support = max(scale, 1.0)
    weights = np.zeros((after, before))
    for row in range(after):
        centre = scale * (row + 0.5)
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), before)
        distances = np.abs((np.arange(first, last) - centre + 0.5) / support)
        triangle = np.maximum(1 - distances, 0)
        weights[row, first:last] = triangle / triangle.sum()
    bits = 0
    while bits < 22 and int(0.5 + weights.max() * 2 ** (bits + 1)) < 2**15:
        bits += 1
    return np.floor(0.5 + weights * 2.0**bits), bits


def _precision(space: Space) -> np.ndarray:
    """Relative precision of the scalars of a numeric leaf: a few units in the last place of floats, 0 for integers."""
    floating = space.dtype is not None and np.issubdtype(space.dtype, np.floating)
    return np.full(math.prod(space.shape or ()), 8 * np.finfo(space.dtype).eps if floating else 0.0)


class ObservationEncoder:
    """Encodes batches of observations of one space.

    Args:
        space: any Gymnasium space whose leaves are supported.
        limits: table and image sizes shared with the model.

    Raises:
        UnsupportedSpaceError: if a leaf is not supported, or too large.
    """

    def __init__(self, space: Space, limits: ObservationLimits) -> None:
        self.limits, self.space, self.leaves = limits, space, leaves(space)
        self._shapes = [() if isinstance(leaf.space, spaces.Text) else leaf.space.shape or () for leaf in self.leaves]
        by_kind: dict[str, list[Leaf]] = {"numeric": [], "categorical": [], "text": [], "grid": [], "pixels": []}
        for leaf in self.leaves:
            by_kind[leaf_kind(leaf.space)].append(leaf)
        self.numeric = by_kind["numeric"]
        self.precision = np.concatenate([np.zeros(0), *(_precision(leaf.space) for leaf in self.numeric)])
        self.num_numeric = len(self.precision)
        # only float64 exceeds float32's range; its precision, which integers may need, does not show in an arcsinh
        self._range = np.float64 if any(leaf.space.dtype == np.float64 for leaf in self.numeric) else np.float32
        self.ids: list[_CategoricalLeaf | _TextLeaf] = [
            _CategoricalLeaf(leaf, limits) for leaf in by_kind["categorical"]
        ]
        self.ids += [_TextLeaf(leaf, limits) for leaf in by_kind["text"]]
        self.grids = [_GridLeaf(leaf, limits) for leaf in by_kind["grid"]]
        self.pixels = [_PixelLeaf(leaf, limits) for leaf in by_kind["pixels"]]

    def parts(self, values: Mapping[str, Member], count: int, environment: str = "the environment") -> Arrays:
        """Leaf values ``{path: (N, *shape)}`` of ``N = count`` observations as arrays of the leaf's dtype.

        Args:
            values: leaf values of a batch, from `spaces.flatten`.
            count: N.
            environment: name of the environment, for messages.

        Raises:
            SpaceMismatchError: if one has another type or shape; names the leaf.
        """
        parts = {}
        with np.errstate(over="ignore", invalid="raise"):  # NaN is no integer; numbers beyond float32 are infinite
            for leaf, shape in zip(self.leaves, self._shapes, strict=True):
                place = f"{environment}: the observation at leaf '{leaf.path or '(root)'}'"
                try:
                    array = leaf_array(leaf.space, values[leaf.path])
                except (TypeError, ValueError, ArithmeticError) as error:
                    raise SpaceMismatchError(f"{place} is no member of {leaf.space}: {error}") from error
                if array.shape != (count, *shape):
                    raise SpaceMismatchError(
                        f"{place} has shape {array.shape}, expected {(count, *shape)} for {count} lane(s) of "
                        f"{self.space}"
                    )
                parts[leaf.path] = array
        return parts

    def numbers(self, parts: Arrays, count: int) -> np.ndarray:
        """All numeric scalars of ``N = count`` observations, unscaled: ``(N, num_numeric)`` float64.

        Float32 would merge integers over 2^24.
        """
        columns = [np.asarray(parts[leaf.path], np.float64).reshape(count, -1) for leaf in self.numeric]
        return columns[0] if len(columns) == 1 else np.concatenate([np.zeros((count, 0)), *columns], axis=1)

    def repair(
        self, parts: Arrays, count: int, mean: np.ndarray | None
    ) -> tuple[Arrays, np.ndarray, np.ndarray | None]:
        """Replaces what is NaN or infinite: a roll-out should not die of a broken sensor.

        Args:
            parts: leaf values of ``N = count`` observations, from `parts`.
            count: N.
            mean: what takes the place of numbers, ``(num_numeric,)``; None: zero. Pixels become black.

        Returns:
            The leaf values, their numbers as `numbers` gives them, and which observations were broken, ``(N,)`` bool;
            None if none was.
        """
        numbers = self.numbers(parts, count)
        finite = np.isfinite(numbers)
        broken = None
        if not finite.all():
            broken = ~finite.all(axis=1)
            numbers = np.where(finite, numbers, 0.0 if mean is None else mean)
        for leaf in self.pixels:
            values = parts[leaf.path]
            if not leaf.uint8 and not np.isfinite(values).all():
                finite = np.isfinite(values)
                black = ~finite.reshape(count, -1).all(axis=1)
                broken = black if broken is None else broken | black
                parts = parts | {leaf.path: np.where(finite, values, leaf.low).astype(values.dtype)}
        return parts, numbers, broken

    def encode(self, parts: Arrays, numbers: np.ndarray, standardised: np.ndarray) -> Encoded:
        """Encodes ``N`` observations.

        Args:
            parts: leaf values ``{path: (N, *leaf shape)}``, from `parts`.
            numbers: their numeric scalars ``(N, num_numeric)``, from `numbers`.
            standardised: the same scalars after standardisation, ``(N, num_numeric)``.
        """
        count = len(numbers)
        ids = [leaf.encode(parts[leaf.path]) for leaf in self.ids]
        grids = [leaf.encode(parts[leaf.path]) for leaf in self.grids]
        channels, columns = max((leaf.channels for leaf in self.grids), default=0), self.limits.max_numeric
        if any(grid.shape[-1] < channels for grid in grids):
            grids = [np.pad(grid, [(0, 0)] * 4 + [(0, channels - grid.shape[-1])]) for grid in grids]
        return Encoded(
            numeric=fold(np.minimum(np.maximum(standardised, -CLIP), CLIP).astype(np.float32, copy=False), columns),
            raw_numeric=fold(np.arcsinh(numbers.astype(self._range)).astype(np.float32, copy=False), columns),
            categorical=np.concatenate(ids, axis=1) if ids else np.zeros((count, 0), np.int64),
            grid=np.concatenate(grids) if grids else None,
            pixels=np.concatenate([leaf.encode(parts[leaf.path]) for leaf in self.pixels]) if self.pixels else None,
            grid_slots=np.concatenate([leaf.slots for leaf in self.grids]) if self.grids else np.zeros(0, np.int64),
            pixel_slots=np.concatenate([leaf.slots for leaf in self.pixels]) if self.pixels else np.zeros(0, np.int64),
        )
