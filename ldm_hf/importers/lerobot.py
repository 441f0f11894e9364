"""LeRobotDataset v3.0: one row a frame in Parquet, many episodes a file, cameras as MP4.

The layout (huggingface/lerobot, `lerobot/datasets/utils.py` and `lerobot_dataset.py` of 0.4; https://huggingface.co/docs/lerobot/lerobot-dataset-v3):

    meta/info.json                                   features (dtype, shape, names), fps, patterns of paths
    meta/stats.json                                  smallest and largest value of every feature
    meta/tasks.parquet                               tasks; the index holds the sentence, task_index its number
    meta/episodes/chunk-000/file-000.parquet         a row an episode: length, where its frames and its pictures are
    data/chunk-000/file-000.parquet                  a row a frame: features, timestamp, frame_index, episode_index,
                                                     index, task_index
    videos/<camera>/chunk-000/file-000.mp4           pictures of many episodes one after another

`observation.*` features are the observation, `action` is the action; `next.reward` and `next.done` are used where there
are any.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from gymnasium import spaces
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from PIL import Image

from ..errors import DatasetError
from ..trajectories.images import FORMATS
from .base import LoggedEpisode, Source, file_sizes, logged_episode
from .rows import steps_of
from .video import frames_between

OBSERVATION = "observation."
PICTURES = ("image", "video")

Row = dict[str, Any]
"""A JSON object of ``meta``, or the row of an episode: LeRobot decides what is in it."""


class LeRobotSource(Source):
    """A LeRobotDataset of format 3.

    Several observation features become a Dict; with several tasks, the sentence of the task is a part of it. The bounds
    of the action are the smallest and largest values that `meta/stats.json` records.

    Args:
        source: folder, or dataset id on the Hub.
        image_size: pixels on both sides that cameras are scaled to; by default, they stay as recorded, which makes
            large datasets.

    Raises:
        DatasetError: if this is no LeRobotDataset of format 3, or a file is damaged.
    """

    def __init__(self, source: str, image_size: int | None = None) -> None:
        self.folder, self.image_size = _local(source), image_size
        self.info = self._json("info.json")
        version = str(self.info.get("codebase_version", "unknown"))
        if not version.startswith("v3."):
            raise DatasetError(
                f"{source} has format {version}, not v3; convert it with LeRobot: "
                f"python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id {source}"
            )
        features = self.info["features"]
        self.observed = [name for name in features if name.startswith(OBSERVATION)]
        if not self.observed or "action" not in features:
            raise DatasetError(f"{source} has no observation.* features or no action; it has {sorted(features)}.")
        paths = sorted((self.folder / "meta/episodes").glob("*/*.parquet"))
        if not paths:
            raise DatasetError(f"{source} has no meta/episodes/*/*.parquet; fetch the dataset again.")
        self.table = pa.concat_tables([_table(path) for path in paths]).sort_by("episode_index")
        tasks = _table(self.folder / "meta/tasks.parquet").to_pandas()
        sentences = tasks.get("task", tasks.index)
        self.tasks = dict(zip(tasks["task_index"].tolist(), map(str, sentences), strict=True))
        self.num_episodes = self.table.num_rows
        self.description = {
            "name": Path(source).name,
            "domain": "robotics",
            "task": next(iter(self.tasks.values())) if len(self.tasks) == 1 else "",
        }
        self.origin = {
            "dataset": Path(source).name,
            "format": version,
            "robot": self.info.get("robot_type"),
            "fps": self.info.get("fps"),
            "episodes": self.num_episodes,
            "frames": self.info.get("total_frames"),
            "image_size": image_size,
            "files": file_sizes([self.folder / "meta/info.json"]),
        }
        parts = {name.removeprefix(OBSERVATION): self._space(name) for name in self.observed}
        if len(self.tasks) > 1:
            characters = "".join(sorted(set("".join(self.tasks.values()))))
            parts["task"] = spaces.Text(max(map(len, self.tasks.values())), charset=characters, min_length=0)
        self.observation_space = spaces.Dict(parts) if len(parts) > 1 else next(iter(parts.values()))
        self.action_space = self._space("action")

    def _json(self, name: str) -> Row:
        """A JSON file of ``meta``."""
        path = self.folder / "meta" / name
        try:
            data: Row = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{path} is missing or damaged ({error}); is this a LeRobotDataset of format 3?"
            ) from error
        return data

    @cached_property
    def _statistics(self) -> Row:
        """Statistics of every feature."""
        return self._json("stats.json")

    def _space(self, name: str) -> gymnasium.Space[object]:
        """The space of a feature."""
        feature = self.info["features"][name]
        kind, shape = feature["dtype"], tuple(feature["shape"])
        if kind in PICTURES:
            height, width, channels = shape if shape[-1] in (1, 3, 4) else (*shape[1:], shape[0])
            size = (self.image_size, self.image_size) if self.image_size else (height, width)
            return spaces.Box(0, 255, (*size, channels), np.uint8)
        if kind == "string":
            raise DatasetError(
                f"{self.folder}: the feature {name} is text; leave it out of the dataset, tasks are read anyway."
            )
        if kind == "bool":
            return spaces.MultiBinary(shape)
        dtype: Any = np.dtype(kind)
        if name != "action" and np.issubdtype(dtype, np.floating):
            return spaces.Box(-np.inf, np.inf, shape, dtype)
        limits = self._statistics[name]
        low, high = (np.asarray(limits[bound], np.float64).reshape(shape).astype(dtype) for bound in ("min", "max"))
        return spaces.Box(low, high, shape, dtype)

    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on."""
        path, frames = Path(), pa.table({})
        for number, row in enumerate(self.table.slice(start).to_pylist(), start):
            wanted = self._path("data_path", row, "data")
            if wanted != path:
                path, frames = wanted, _table(wanted)
            indices = frames["episode_index"].to_numpy()
            steps = frames.filter(pa.array(indices == row["episode_index"]))
            if steps.num_rows != row["length"]:
                raise DatasetError(f"{path}: episode {number} has {steps.num_rows} frames, {row['length']} expected.")
            yield self._episode(steps.combine_chunks(), row, f"{self.folder}, episode {number}")

    def _episode(self, steps: pa.Table, row: Row, where: str) -> LoggedEpisode:
        """An episode from its frames and its row in ``meta/episodes``."""
        parts: dict[str, np.ndarray] = {}
        for name in self.observed:
            kind = self.info["features"][name]["dtype"]
            if kind == "video":
                values = self._video(name, row)
            elif kind == "image":
                encoded = steps[name].to_pylist()
                values = np.stack(
                    [self._resized(Image.open(io.BytesIO(image["bytes"]), formats=FORMATS)) for image in encoded]
                )
            else:
                values = self._numbers(steps, name, where)
            parts[name.removeprefix(OBSERVATION)] = values
        if len(self.tasks) > 1:
            parts["task"] = np.array([self.tasks[index] for index in steps["task_index"].to_pylist()], dtype=object)
        known = steps.column_names
        reward = self._numbers(steps, "next.reward", where) if "next.reward" in known else np.zeros(steps.num_rows)
        done = bool(self._numbers(steps, "next.done", where)[-1].any()) if "next.done" in known else False
        observation = parts if len(parts) > 1 else next(iter(parts.values()))
        return logged_episode(observation, self._numbers(steps, "action", where), reward.reshape(-1), done)

    def _numbers(self, steps: pa.Table, name: str, where: str) -> np.ndarray:
        """The values of a feature of numbers."""
        values = steps_of(steps[name].combine_chunks(), f"{where}: {name}")
        return values.reshape(steps.num_rows, *self.info["features"][name]["shape"])

    def _video(self, name: str, row: Row) -> np.ndarray:
        """The pictures of a camera."""
        path = self._path("video_path", row, f"videos/{name}", video_key=name)
        begin = row[f"videos/{name}/from_timestamp"]
        pictures = frames_between(path, begin, row["length"], float(self.info["fps"]))
        return np.stack([self._resized(picture) for picture in pictures])

    def _resized(self, picture: Image.Image) -> np.ndarray:
        """A picture as an array ``(height, width, channels)``."""
        if self.image_size:
            picture = picture.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)
        array = np.asarray(picture)
        return array if array.ndim == 3 else array[..., None]

    def _path(self, pattern: str, row: Row, prefix: str, **further: str) -> Path:
        """The file of an episode, by a pattern of ``info.json`` and the numbers in the episode's row."""
        place = {key: row[f"{prefix}/{key}"] for key in ("chunk_index", "file_index")}
        return self.folder / str(self.info[pattern]).format(**place, **further)


def _table(path: Path) -> pa.Table:
    """Reads a Parquet file."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is missing or damaged ({error}); fetch the dataset again.") from error


def _local(source: str) -> Path:
    """The folder of a dataset, downloaded first if it is on the Hub."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(source, repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise DatasetError(
            f"{source} is neither a folder nor a dataset on the Hub: {str(error).splitlines()[0]}"
        ) from error
