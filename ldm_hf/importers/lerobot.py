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

import json
import math
from collections.abc import Iterator, Sequence
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
from .arrays import vector
from .base import LoggedEpisode, Source, done_at_the_end, logged_episode, reading
from .identity import folder_identity
from .pictures import as_pixels, decode, stack_pictures
from .rows import steps_of
from .video import frames_between

OBSERVATION = "observation."
PICTURES = ("image", "video")

Row = dict[str, Any]
"""A JSON object of ``meta``, or the row of an episode: LeRobot decides what is in it."""


class LeRobotSource(Source):
    """A LeRobotDataset of format 3.

    Several observation features become a Dict; with several tasks, the sentence of the task is a part of it. The bounds
    of the action are the smallest and largest values of the data, or those that `meta/stats.json` records beyond them.

    Args:
        source: folder, or dataset id on the Hub.
        image_size: pixels on both sides that cameras are scaled to; by default, they stay as recorded, which makes
            large datasets.
        observation: features that are the observation, a list or names with commas between them; by default all
            whose names begin with ``observation.``.
        action: feature that is the action.

    Raises:
        DatasetError: if this is no LeRobotDataset of format 3, or a file is damaged.
    """

    def __init__(
        self,
        source: str,
        image_size: int | None = None,
        observation: str | Sequence[str] | None = None,
        action: str = "action",
    ) -> None:
        self.folder, self.image_size, self.acted = _local(source), image_size, action
        self.info = self._json("info.json")
        version = str(self.info.get("codebase_version", "unknown"))
        if not version.startswith("v3."):
            raise DatasetError(
                f"{source} has format {version}, not v3; convert it with LeRobot: "
                f"python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id {source}"
            )
        features = self.info.get("features")
        if not isinstance(features, dict):
            raise DatasetError(f"{source}: meta/info.json has no features.")
        wanted = observation.split(",") if isinstance(observation, str) else observation
        self.observed = list(wanted or (name for name in features if name.startswith(OBSERVATION)))
        unknown = [name for name in (*self.observed, action) if name not in features]
        if not self.observed or unknown:
            raise DatasetError(
                f"{source} has {'no feature ' + ', '.join(unknown) if unknown else 'no observation.* features'}; "
                f"it has {sorted(features)}. Say which are what: --observation image,state --action actions."
            )
        with reading(f"{source}: its metadata"):
            self._open(source, version, observation, action)

    def _open(self, source: str, version: str, observation: str | Sequence[str] | None, action: str) -> None:
        """Reads episodes, tasks and spaces from the metadata."""
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
        local = Path(source).expanduser().is_dir()
        self.origin = {
            "dataset": Path(source).name,
            "format": version,
            "robot": self.info.get("robot_type"),
            "fps": self.info.get("fps"),
            "episodes": self.num_episodes,
            "frames": self.info.get("total_frames"),
            "image_size": self.image_size,
            # a snapshot of the Hub's cache is a folder that has the name of its commit
            "content": folder_identity(self.folder) if local else self.folder.name,
        }
        if observation or action != "action":
            self.origin |= {"observation": self.observed, "action": action}
        parts = {name.removeprefix(OBSERVATION): self._space(name) for name in self.observed}
        if len(self.tasks) > 1:
            characters = "".join(sorted(set("".join(self.tasks.values()))))
            parts["task"] = spaces.Text(
                max(1, *map(len, self.tasks.values())), charset=characters or " ", min_length=0
            )
        self.observation_space = spaces.Dict(parts) if len(parts) > 1 else next(iter(parts.values()))
        self.action_space = self._space(self.acted)

    def _json(self, name: str) -> Row:
        """A JSON file of ``meta``."""
        path = self.folder / "meta" / name
        try:
            data: Row = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{path} is missing or damaged ({error}); is this a LeRobotDataset of format 3?"
            ) from error
        if not isinstance(data, dict):
            raise DatasetError(f"{path} is no JSON object; is this a LeRobotDataset of format 3?")
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
            if self._first_picture(name, kind).dtype == np.uint16:  # depth
                return spaces.Box(0, 2**16 - 1, (*size, channels), np.uint16)
            return spaces.Box(0, 255, (*size, channels), np.uint8)
        if kind == "string":
            return self._text_space(name)
        if kind == "bool":
            return spaces.MultiBinary(shape)
        dtype: Any = np.dtype(kind)
        if name != self.acted and np.issubdtype(dtype, np.floating):
            return spaces.Box(-np.inf, np.inf, shape, dtype)
        low, high = self._limits(name, shape, dtype)
        return spaces.Box(low, high, shape, dtype)

    def _text_space(self, name: str) -> spaces.Text:
        """The space of a feature of texts, from all of them."""
        texts: set[str] = set()
        for path in self._files:
            texts.update(str(text) for text in self._column(path, name).unique().to_pylist())
        return spaces.Text(max(1, *map(len, texts)), charset="".join(sorted(set("".join(texts)))) or " ", min_length=0)

    def _limits(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest values of a feature: those of the data, and those of the statistics beyond them."""
        limits = []
        recorded = self._statistics.get(name)
        told = recorded if isinstance(recorded, dict) else {}
        found = self._found(name, shape)
        for bound, data, is_beyond in zip(("min", "max"), found, (np.less, np.greater), strict=True):
            limit, values = data.astype(dtype), np.asarray(told.get(bound, np.nan), np.float64)
            if values.size == math.prod(shape):
                values = values.reshape(shape)
                beyond = np.isfinite(values) & is_beyond(values, data)
                limit = np.where(beyond, np.where(beyond, values, 0).astype(dtype), limit)
            limits.append(limit)
        known = [np.asarray(told.get(bound, np.nan), np.float64) for bound in ("min", "max")]
        if not all(np.isfinite(values).all() for values in known):
            self.report.notes.append(f"{name}: bounds from the data, meta/stats.json lacks them")
        return limits[0], limits[1]

    def _found(self, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest values of a feature in the data."""
        lows, highs = [], []
        for path in self._files:
            column = self._column(path, name).combine_chunks()
            if not len(column):
                continue
            values = steps_of(column, f"{path}: {name}").reshape(-1, *shape)
            if values.dtype.kind == "f" and not np.isfinite(values).all():  # refused with its episode later
                values = values[np.isfinite(values).reshape(len(values), -1).all(axis=1)]
            if len(values):
                lows.append(values.min(axis=0))
                highs.append(values.max(axis=0))
        if not lows:
            raise DatasetError(f"{self.folder}: {name} has no finite values.")
        return np.min(lows, axis=0), np.max(highs, axis=0)

    @cached_property
    def _files(self) -> list[Path]:
        """The files of frames, in the order of the episodes."""
        rows = self.table.select(["data/chunk_index", "data/file_index"]).to_pylist()
        return list(dict.fromkeys(self._path("data_path", row, "data") for row in rows))

    def _column(self, path: Path, name: str) -> pa.ChunkedArray:
        """One feature of all frames of a file."""
        try:
            known = pq.read_schema(path).names
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path} is missing or damaged ({error}); fetch the dataset again.") from error
        if name not in known:
            raise DatasetError(f"{path} lacks the feature {name} that info.json names; it has {known}.")
        return _table(path, [name])[name]

    def _first_picture(self, name: str, kind: str) -> np.ndarray:
        """The first picture of a camera; an array of one channel says nothing of those that follow."""
        if kind == "video" or not self._files:
            return np.zeros((1, 1, 1), np.uint8)
        cells = self._column(self._files[0], name).slice(0, 1).to_pylist()
        return as_pixels(decode(cells[0], self.folder, f"{self.folder}: {name}")) if cells else np.zeros(1, np.uint8)

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
            yield self._episode(self._in_order(steps, path, number), row, f"{self.folder}, episode {number}")

    def _in_order(self, steps: pa.Table, path: Path, number: int) -> pa.Table:
        """Frames sorted by ``frame_index``, which is the order of the pictures in videos."""
        if "frame_index" in steps.column_names:
            frames = steps["frame_index"].to_numpy()
            if not np.array_equal(np.sort(frames), np.arange(len(frames))):
                raise DatasetError(
                    f"{path}: episode {number}: frame_index does not count from 0 to {len(frames) - 1}."
                )
            if not np.array_equal(frames, np.arange(len(frames))):
                self.report.count("episodes whose frames were sorted by frame_index", number)
                steps = steps.take(pa.array(np.argsort(frames)))
        return steps.combine_chunks()

    def _episode(self, steps: pa.Table, row: Row, where: str) -> LoggedEpisode:
        """An episode from its frames and its row in ``meta/episodes``."""
        parts: dict[str, np.ndarray] = {}
        for name in self.observed:
            feature = self.info["features"][name]
            if name not in steps.column_names and feature["dtype"] != "video":
                raise DatasetError(f"{where} lacks the feature {name} that info.json names.")
            if feature["dtype"] in PICTURES:
                if feature["dtype"] == "video":
                    pictures = self._video(name, row)
                else:
                    cells = enumerate(steps[name].to_pylist())
                    pictures = [decode(cell, self.folder, f"{where}: {name}, step {step}") for step, cell in cells]
                channels = next(size for size in (feature["shape"][-1], feature["shape"][0]) if size in (1, 3, 4))
                values = stack_pictures(
                    [self._shaped(picture, channels) for picture in pictures], None, f"{where}: {name}"
                )
                values = values if values.ndim == 4 else values[..., None]
            elif feature["dtype"] == "string":
                values = np.array(steps[name].to_pylist(), dtype=object)
            else:
                values = self._numbers(steps, name, where)
            parts[name.removeprefix(OBSERVATION)] = values
        if len(self.tasks) > 1:
            parts["task"] = np.array([self.tasks[index] for index in steps["task_index"].to_pylist()], dtype=object)
        known = steps.column_names
        reward = np.zeros(steps.num_rows)
        if "next.reward" in known:
            reward = vector(self._numbers(steps, "next.reward", where), f"{where}: next.reward")
        done = "next.done" in known and done_at_the_end(
            self._numbers(steps, "next.done", where), f"{where}: next.done"
        )
        observation = parts if len(parts) > 1 else next(iter(parts.values()))
        return logged_episode(observation, self._numbers(steps, self.acted, where), reward, done)

    def _numbers(self, steps: pa.Table, name: str, where: str) -> np.ndarray:
        """The values of a feature of numbers."""
        if name not in steps.column_names:
            raise DatasetError(f"{where} lacks the feature {name} that info.json names.")
        values = steps_of(steps[name].combine_chunks(), f"{where}: {name}")
        shape = self.info["features"][name]["shape"] if name in self.info["features"] else ()
        if values.size != steps.num_rows * math.prod(shape):
            raise DatasetError(
                f"{where}: {name} has frames of shape {values.shape[1:]}, info.json says {tuple(shape)}."
            )
        return values.reshape(steps.num_rows, *shape)

    def _video(self, name: str, row: Row) -> list[Image.Image]:
        """The pictures of a camera."""
        path = self._path("video_path", row, f"videos/{name}", video_key=name)
        begin, fps = row[f"videos/{name}/from_timestamp"], self.info.get("fps")
        if not isinstance(fps, int | float) or not 0 < fps < math.inf:
            raise DatasetError(f"{self.folder}: meta/info.json has fps {fps!r}; write the pictures per second there.")
        return frames_between(path, begin, row["length"], float(fps))

    def _shaped(self, picture: Image.Image, channels: int) -> Image.Image:
        """A picture of the number of channels that is declared, scaled if that is asked for."""
        deep = picture.mode.startswith("I")
        if not deep:
            mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
            picture = picture if picture.mode == mode else picture.convert(mode)
        if self.image_size:
            size = (self.image_size, self.image_size)
            if deep:
                scaled = picture.convert("F").resize(size, Image.Resampling.BILINEAR)
                return Image.fromarray(np.asarray(scaled).round().astype(np.uint16))
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        return picture

    def _path(self, pattern: str, row: Row, prefix: str, **further: str) -> Path:
        """The file of an episode, by a pattern of ``info.json`` and the numbers in the episode's row."""
        place = {key: row[f"{prefix}/{key}"] for key in ("chunk_index", "file_index")}
        return self.folder / str(self.info[pattern]).format(**place, **further)


def _table(path: Path, names: list[str] | None = None) -> pa.Table:
    """Reads a Parquet file, all columns or some."""
    try:
        return pq.read_table(path, columns=names)
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
