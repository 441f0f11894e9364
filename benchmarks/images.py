#!/usr/bin/env python
"""Images in Parquet as lists of numbers, raw bytes (both with zstd) or PNG: size, time to write and time to read.

python benchmarks/images.py --json outputs/benchmarks/images.json
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import parser, race, show
from PIL import Image

from ldm_hf.environments import get_spec, make
from ldm_hf.spaces import flatten, leaves

NAMES = ["BabyAI-GoToRedBallNoDists-pixels", "Crafter", "ALE-Freeway-v5-short", "CarRacing-v3"]


def frames(name: str, steps: int) -> np.ndarray:
    """``(steps, height, width[, channels])`` uint8 of random play."""
    env = make(get_spec(name))
    leaf = next(leaf for leaf in leaves(env.observation_space) if _is_image(leaf.space))
    seen: list[np.ndarray] = []
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    while len(seen) < steps:
        seen.append(np.array(flatten(env.observation_space, observation)[leaf.path]))
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            observation, _ = env.reset()
    env.close()
    return np.stack(seen)


def _is_image(space: gymnasium.Space) -> bool:
    return len(space.shape or ()) >= 2 and space.dtype == np.uint8


def png(images: np.ndarray) -> pa.Array:
    """One PNG file per frame."""

    def encoded(image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png", compress_level=1)
        return buffer.getvalue()

    return pa.array([encoded(image) for image in images], pa.binary())


def from_png(array: pa.Array) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(item.as_py()))) for item in array])


def lists(images: np.ndarray) -> pa.Array:
    """One list of numbers per frame."""
    offsets = pa.array(np.arange(len(images) + 1, dtype=np.int32) * images[0].size)
    return pa.ListArray.from_arrays(offsets, pa.array(images.reshape(-1)))


def from_lists(array: pa.Array) -> np.ndarray:
    return array.flatten().to_numpy()


def raw(images: np.ndarray) -> pa.Array:
    """The bytes of a frame as one binary."""
    offsets = pa.array(np.arange(len(images) + 1, dtype=np.int32) * images[0].size)
    return pa.Array.from_buffers(
        pa.binary(), len(images), [None, offsets.buffers()[1], pa.py_buffer(images.reshape(-1))]
    )


def from_raw(array: pa.Array) -> np.ndarray:
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, np.uint8)[places[0] : places[-1]]


FORMATS: dict[str, tuple[Callable[[np.ndarray], pa.Array], Callable[[pa.Array], np.ndarray]]] = {
    "lists": (lists, from_lists),
    "raw": (raw, from_raw),
    "PNG": (png, from_png),
}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--ids", nargs="+", default=NAMES, help="environments with images")
    made.add_argument("--steps", type=int, default=1_000, help="frames of each environment")
    made.add_argument("--seconds", type=float, default=5.0, help="measuring time of each format in each environment")
    args = made.parse_args()
    rows = []
    for name in args.ids:
        images = frames(name, args.steps)
        with tempfile.TemporaryDirectory() as folder:
            paths = {kind: Path(folder) / f"{kind}.parquet" for kind in FORMATS}

            def write(kind: str, images: np.ndarray = images, paths: dict[str, Path] = paths) -> None:
                pq.write_table(pa.table({"image": FORMATS[kind][0](images)}), paths[kind], compression="zstd")

            def read(kind: str, paths: dict[str, Path] = paths) -> np.ndarray:
                return FORMATS[kind][1](pq.read_table(paths[kind])["image"].combine_chunks())

            writing = race({kind: lambda kind=kind: write(kind) for kind in FORMATS}, args.seconds / 2)
            reading = race({kind: lambda kind=kind: read(kind) for kind in FORMATS}, args.seconds / 2)
            for kind in FORMATS:
                assert np.array_equal(read(kind).reshape(images.shape), images)
                rows.append(
                    {
                        "environment": name,
                        "frame": "x".join(map(str, images.shape[1:])),
                        "format": kind,
                        "bytes a frame": paths[kind].stat().st_size / len(images),
                        "of raw memory": paths[kind].stat().st_size / images.nbytes,
                        "us to write": 1e6 * writing[kind] / len(images),
                        "us to read": 1e6 * reading[kind] / len(images),
                    }
                )
    show("Images on the disk", rows, args)


if __name__ == "__main__":
    main()
