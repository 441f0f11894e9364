#!/usr/bin/env python
"""Reading speed of trajectories: segments from memory maps, encoded or not, pixels, and opening of many configs.

    python benchmarks/reading.py --json outputs/benchmarks/reading.json

The data are generated in a temporary folder: HalfCheetah's sizes (17 numbers, 6 actions) and images of 84 x 84 x 3.
Every segment is copied out of the memory map, so that its pages are really read (from the page cache). Times are CPU
times of this process, which a busy machine changes little. Memory is the anonymous memory of the process after reading
segments of datasets of two sizes; pages of memory maps belong to the page cache.

Waiting is the share of a training step of ldm-nano on one thread that reading and encoding its batch takes in the same
process.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import Row, cpu_seconds, parser, show
from gymnasium import Space, spaces
from PIL import Image
from transformers import BatchFeature

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.spaces import Arrays, space_to_json
from ldm_hf.training import SegmentDataset, processor_for
from ldm_hf.trajectories import (
    EnvironmentInfo,
    EnvironmentTrajectories,
    TrajectoryWriter,
    WindowSampler,
    open_dataset,
)

NUMBERS, ACTIONS = spaces.Box(-np.inf, np.inf, (17,)), spaces.Box(-1, 1, (6,))
PIXELS, BUTTONS = spaces.Box(0, 255, (84, 84, 3), np.uint8), spaces.Discrete(4)
SEGMENT, ROWS = 128, 16


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of several calls."""
    return float(np.median([cpu_seconds(function) for _ in range(repeats)]))


def write(
    folder: Path, name: str, observation_space: Space, action_space: Space, observations: np.ndarray, episode: int
) -> None:
    """Writes a dataset of one environment whose episodes have ``episode`` steps."""
    rng = np.random.default_rng(0)
    count = len(observations)
    size = (count, *action_space.shape)
    actions = rng.integers(0, 4, count) if action_space is BUTTONS else rng.uniform(-1, 1, size).astype(np.float32)
    info = EnvironmentInfo(name, name, space_to_json(observation_space), space_to_json(action_space))
    with TrajectoryWriter(folder, info) as out:
        for start in range(0, count, episode):
            part = slice(start, start + episode)
            steps = len(actions[part])
            labels = {"": actions[part]}
            out.write(
                {
                    "observation": {"": observations[part]},
                    "action": labels,
                    "label": labels,
                    "reward": rng.normal(size=steps).astype(np.float32),
                    "terminated": np.arange(steps) == steps - 1,
                    "truncated": np.zeros(steps, bool),
                }
            )


def copy_many(folder: Path, name: str, count: int) -> None:
    """Makes ``count`` configs with the data of one."""
    text = (folder / name / "environment.json").read_text()
    (shard,) = (folder / name).glob("train-*.parquet")
    for index in range(count):
        copied = folder / f"{name}-{index}"
        copied.mkdir()
        (copied / "environment.json").write_text(text.replace(f'"name": "{name}"', f'"name": "{copied.name}"'))
        os.link(shard, copied / shard.name)


def as_png(folder: Path) -> None:
    """Stores the observations of an environment's shards as PNG, as `datasets.Image` does."""

    def encode(pixels: bytes) -> dict[str, bytes]:
        file = io.BytesIO()
        Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(PIXELS.shape)).save(file, "PNG")
        return {"bytes": file.getvalue()}

    for path in folder.glob("train-*.parquet"):
        table = pq.read_table(path)
        episodes = [[encode(pixels) for pixels in episode] for episode in table["observation"].to_pylist()]
        files = pa.array(episodes, pa.list_(pa.struct({"bytes": pa.binary()})))
        pq.write_table(table.set_column(0, "observation", files), path)


def segments(stream: EnvironmentTrajectories, count: int) -> Iterator[dict[str, Arrays | np.ndarray]]:
    """Copies of segments at places that the sampler chooses."""
    sampler = WindowSampler({"": stream.num_steps}, SEGMENT, count)
    for _, start in sampler.windows(0):
        steps = stream.slice(start, start + SEGMENT)
        yield {
            name: {path: np.array(value) for path, value in values.items()}
            if isinstance(values, dict)
            else np.array(values)
            for name, values in steps.items()
        }


def read(stream: EnvironmentTrajectories, count: int) -> None:
    """Reads segments and drops them."""
    for _ in segments(stream, count):
        pass


def anonymous_memory() -> float:
    """MiB of anonymous memory of this process."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def waiting(trajectories: dict[str, EnvironmentTrajectories]) -> float:
    """Share of a training step that reading and encoding its batch takes."""
    config = LDMConfig.preset("ldm-nano")
    model = LDMForActionPrediction(config).train()
    sampler = WindowSampler({name: stream.num_steps for name, stream in trajectories.items()}, SEGMENT, ROWS)
    batches = SegmentDataset(trajectories, processor_for(config, trajectories), sampler, 10_000)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    waited, worked = [], []
    for step in range(12):
        fetched: list[BatchFeature] = []
        waited.append(cpu_seconds(lambda step=step, fetched=fetched: fetched.append(batches[step])))

        def update(batch: BatchFeature = fetched[0]) -> None:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        worked.append(cpu_seconds(update))
    return float(np.median(waited) / (np.median(waited) + np.median(worked)))


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--steps", type=int, default=2_000_000, help="size of the larger dataset of numbers")
    made.add_argument("--frames", type=int, default=8_000, help="number of images")
    made.add_argument("--configs", type=int, default=1000, help="configs of the dataset that is opened")
    made.add_argument("--repeats", type=int, default=5, help="measurements to take the median of")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    rows: list[Row] = []

    def add(what: str, value: float, unit: str, goal: str) -> None:
        rows.append({"what": what, "measured": value, "unit": unit, "goal": goal})

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LDM_HF_CACHE"] = str(folder / "cache")
        # --- numbers
        memory = []
        for part, steps in (("small", args.steps // 10), ("large", args.steps)):
            write(folder / part, "numbers", NUMBERS, ACTIONS, rng.normal(size=(steps, 17)).astype(np.float32), 1000)
            open_dataset(folder / part)  # decodes it
            before = anonymous_memory()
            numbers = open_dataset(folder / part)
            count = max(steps // SEGMENT // 2, 1)
            read(numbers["numbers"], count)
            memory.append(anonymous_memory() - before)
        stream = numbers["numbers"]
        rate = count * SEGMENT / seconds(lambda: read(stream, count), args.repeats)
        add("segments of numbers", rate, "steps/s", ">= 3 million")
        processor = processor_for(LDMConfig.preset("ldm-nano"), numbers)
        sampler = WindowSampler({"numbers": stream.num_steps}, SEGMENT, ROWS)
        batches = SegmentDataset(numbers, processor, sampler, 10**9, unknown_statistics=0)
        rate = 20 * ROWS * SEGMENT / seconds(lambda: [batches[step] for step in range(20)], args.repeats)
        add("the same, encoded as batches", rate, "steps/s", ">= 1 million")
        add(f"memory after reading {args.steps // 10:,} steps", memory[0], "MiB", "")
        add(f"memory after reading {args.steps:,} steps", memory[1], "MiB", "the same")
        # --- pixels: of large blocks, since pictures of games compress and noise does not
        frames = np.repeat(np.repeat(rng.integers(0, 255, (args.frames, 12, 12, 3), np.uint8), 7, axis=1), 7, axis=2)
        write(folder / "pictures", "pixels", PIXELS, BUTTONS, frames, 500)
        add(
            "decoding images stored as numbers, once",
            args.frames / cpu_seconds(lambda: open_dataset(folder / "pictures")),
            "frames/s",
            "",
        )
        pixels = open_dataset(folder / "pictures")["pixels"]
        as_png(folder / "pictures" / "pixels")
        rate = args.frames / cpu_seconds(lambda: open_dataset(folder / "pictures"))
        add("decoding images stored as PNG, once", rate, "frames/s", ">= 2,000")
        count = max(args.frames // SEGMENT // 2, 1)
        add(
            "segments of images",
            count * SEGMENT / seconds(lambda: read(pixels, count), args.repeats),
            "frames/s",
            ">= 20,000",
        )
        # --- opening
        write(folder / "many", "numbers", NUMBERS, ACTIONS, rng.normal(size=(200, 17)).astype(np.float32), 100)
        copy_many(folder / "many", "numbers", args.configs - 1)
        add(
            f"opening {args.configs:,} configs the first time",
            cpu_seconds(lambda: open_dataset(folder / "many")),
            "s",
            "",
        )
        add(f"opening {args.configs:,} configs again", cpu_seconds(lambda: open_dataset(folder / "many")), "s", "< 5")
        add("a step of ldm-nano spent waiting for its batch", waiting(numbers), "share", "<= 0.02")
    show("Reading trajectories", rows, args)


if __name__ == "__main__":
    main()
