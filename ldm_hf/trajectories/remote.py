"""Datasets on the Hub: an index says what training has to know beforehand; shards are fetched when they are needed."""

from __future__ import annotations

import json
import math
import queue
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RemoteEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils.tqdm import tqdm as hub_tqdm
from tqdm.auto import tqdm

from ..errors import DatasetError, InvalidNameError, NonFiniteError, short
from ..observations_ldm import leaf_kind
from ..spaces import Statistics, Steps, leaves
from ..statistics_ldm import moments, to_lists
from ..utils.files import read_json, write_atomically
from ..utils.names import check_name
from .reader import EnvironmentTrajectories
from .schema import EnvironmentInfo
from .writer import shards

INDEX, INDEX_FORMAT = "index.json", 1
FILE = re.compile(r"environment\.json|train-[\w-]+\.parquet")  # what may be fetched of an environment
MOST_STEPS = 2**40  # of an environment; more is a damaged index
THREADS = 4  # fetch ahead; more keep the first batch waiting, since decoding takes turns


class IndexEntry(TypedDict):
    """The entry of one environment in the index.

    Attributes:
        info: fields of `EnvironmentInfo`.
        episodes: number of episodes.
        steps: number of steps.
        statistics: statistics of the data, as lists.
        files: names of the files in the folder of the config.
    """

    info: dict[str, Any]
    episodes: int
    steps: int
    statistics: Statistics
    files: list[str]


class RemoteTrajectories:
    """The stream of one environment of a repo on the Hub.

    Spaces, lengths and statistics are known from the index. Whoever asks for steps, episodes or returns makes it
    fetch and decode all shards of the environment.

    Args:
        repo_id: id of the dataset repo.
        revision: commit of the index.
        name: name of the config.
        entry: its entry in the index.

    Raises:
        DatasetError: if the entry is damaged.
    """

    def __init__(self, repo_id: str, revision: str, name: str, entry: IndexEntry) -> None:
        self.repo_id, self.revision, self.name, self._files = repo_id, revision, name, entry["files"]
        self.info = EnvironmentInfo.of(entry["info"], f"{INDEX} of {repo_id}: {name}")
        self.observation_space, self.action_space = self.info.spaces
        self.num_episodes, self.num_steps = entry["episodes"], entry["steps"]
        try:
            self._statistics = self._checked(entry["statistics"])
        except (NonFiniteError, ValueError, TypeError, KeyError) as error:
            raise _damaged(repo_id, f"statistics of {name}: {error!r}") from error
        self._here: EnvironmentTrajectories | None = None

    def _checked(self, statistics: Statistics) -> Statistics:
        """The statistics as arrays: of each numeric leaf and of the reward."""
        found: Statistics = {"observation": {}, "reward": moments(statistics["reward"], ())}
        for leaf in leaves(self.observation_space):
            if leaf_kind(leaf.space) == "numeric":
                size = math.prod(leaf.space.shape or ())
                found["observation"][leaf.path] = moments(statistics["observation"][leaf.path], (size,))
        return found

    def statistics(self) -> Statistics:
        """Mean and deviation of numeric leaves and of the reward; nothing is fetched."""
        return self._statistics

    def slice(self, start: int, stop: int) -> Steps:
        """Steps ``start`` to ``stop`` of the stream, fetched first; see `EnvironmentTrajectories.slice`."""
        return self.here.slice(start, stop)

    def part(self, start: int, stop: int) -> EnvironmentTrajectories:
        """The stream of the episodes ``start`` to ``stop`` alone, fetched first; see `EnvironmentTrajectories.part`."""
        return self.here.part(start, stop)

    @property
    def episode_starts(self) -> np.ndarray:
        """First step of every episode, and the number of steps, fetched first."""
        return self.here.episode_starts

    def episode_returns(self) -> np.ndarray:
        """Sum of rewards of every episode ``(num_episodes,)``, fetched first."""
        return self.here.episode_returns()

    @property
    def here(self) -> EnvironmentTrajectories:
        """The stream on this machine, fetched once into the Hub's cache.

        Raises:
            DatasetError: if the Hub cannot be reached, or the shards are not those of the index.
        """
        # No lock, which a forked process might find closed for ever; one process at a time fetches a file anyway.
        if self._here is None:
            self._here = self._fetch()
        return self._here

    def _fetch(self) -> EnvironmentTrajectories:
        """Downloads all files of the environment and maps them."""
        try:
            paths = [
                hf_hub_download(
                    self.repo_id,
                    f"{self.name}/{file}",
                    repo_type="dataset",
                    revision=self.revision,
                    tqdm_class=_NoBar,
                )
                for file in self._files
            ]
        except (HfHubHTTPError, OSError) as error:
            raise DatasetError(
                f"{self.name} of {self.repo_id} could not be fetched ({str(error).splitlines()[0]}); "
                "resume the run when the Hub can be reached."
            ) from error
        stream = EnvironmentTrajectories(Path(paths[0]).parent)
        if (stream.num_episodes, stream.num_steps) != (self.num_episodes, self.num_steps):
            raise DatasetError(
                f"{self.name} of {self.repo_id} has {stream.num_steps} steps, its {INDEX} says {self.num_steps}; "
                "`ldm push` it again."
            )
        return stream


class _NoBar(hub_tqdm):
    """Hides the bar of a single file, since there is one over all environments."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})


def write_index(folder: Path, names: Iterable[str]) -> Path:
    """Writes ``index.json``: description, length, statistics and files of every environment.

    Args:
        folder: folder of the dataset.
        names: names of its configs.

    Raises:
        DatasetError: if a shard is damaged.
    """
    entries: dict[str, IndexEntry] = {}
    for name in tqdm(list(names), desc="index", leave=False):
        stream = EnvironmentTrajectories(folder / name)
        entries[name] = {
            "info": asdict(stream.info),
            "episodes": stream.num_episodes,
            "steps": stream.num_steps,
            "statistics": to_lists(stream.statistics()),
            "files": ["environment.json", *(path.name for path in shards(folder / name))],
        }
    write_atomically(folder / INDEX, json.dumps({"format_version": INDEX_FORMAT, "environments": entries}))
    return folder / INDEX


def read_index(repo_id: str) -> dict[str, Callable[[], RemoteTrajectories]] | None:
    """Reads the index of a repo.

    Returns:
        A function for each environment that opens its stream; None if the repo has no index.

    Raises:
        DatasetError: if there is no such repo, or its index is damaged or of a later format.
    """
    try:
        path = Path(hf_hub_download(repo_id, INDEX, repo_type="dataset"))
    except RemoteEntryNotFoundError:
        return None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        if isinstance(error, LocalEntryNotFoundError) and _is_cached(repo_id):
            return None  # offline, with a repo that has none
        raise unreachable(repo_id, error) from error
    return {
        name: partial(RemoteTrajectories, repo_id, path.parent.name, name, entry)
        for name, entry in index_entries(path, repo_id).items()
    }


def index_entries(path: Path, repo_id: str) -> dict[str, IndexEntry]:
    """The entries of an index by the name of their environment.

    Args:
        path: path of the index.
        repo_id: id of its repo, for messages.

    Raises:
        DatasetError: if it is damaged or of a later format.
    """
    try:
        index = read_json(path)
        version = index["format_version"]
        if version > INDEX_FORMAT:
            raise DatasetError(
                f"the {INDEX} of {repo_id} has format {version}, this ldm_hf reads up to {INDEX_FORMAT}: update ldm_hf."
            )
        entries = index["environments"]
        for name, entry in entries.items():
            _check_entry(check_name(name), entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InvalidNameError) as error:
        raise _damaged(repo_id, repr(error)) from error
    found: dict[str, IndexEntry] = entries
    return found


def _check_entry(name: str, entry: IndexEntry) -> None:
    """Raises a `ValueError` unless an entry has all fields, of which numbers and names of files are possible."""
    missing = IndexEntry.__required_keys__ - set(entry)
    if missing:
        raise ValueError(f"too little of {name}: no {', '.join(sorted(missing))}")
    counts: dict[str, object] = {"episodes": entry["episodes"], "steps": entry["steps"]}
    for field, number in counts.items():
        if type(number) is not int or not 1 <= number <= MOST_STEPS:
            raise ValueError(f"{name}: {field} is {short(number)}")
    files: object = entry["files"]
    if not isinstance(files, list) or not all(isinstance(file, str) and FILE.fullmatch(file) for file in files):
        raise ValueError(f"{name}: files are {short(files)}")
    if "environment.json" not in files:
        raise ValueError(f"{name}: files lack environment.json")


def _damaged(repo_id: str, reason: str) -> DatasetError:
    return DatasetError(f"the {INDEX} of {repo_id} is damaged ({reason}); `ldm push` the dataset again.")


def unreachable(path_or_repo: str | Path, error: Exception) -> DatasetError:
    """The error for a place where there is no dataset."""
    return DatasetError(
        f"{path_or_repo} is neither a folder nor a dataset repo that can be reached: {str(error).splitlines()[0]}"
    )


def fetch_ahead(streams: Iterable[object], progress: bool = True) -> None:
    """Fetches in the background what is not on this machine yet.

    Args:
        streams: streams in the order in which they are needed; those of folders are ignored.
        progress: show a bar.
    """
    waiting = [stream for stream in streams if isinstance(stream, RemoteTrajectories)]
    if not waiting:
        return
    left: queue.SimpleQueue[RemoteTrajectories] = queue.SimpleQueue()
    for stream in waiting:
        left.put(stream)
    bar = tqdm(total=len(waiting), desc="fetch", unit=" environments", leave=False, disable=not progress)

    def work() -> None:
        with suppress(queue.Empty):
            while True:
                stream = left.get_nowait()
                with suppress(DatasetError):  # raised again where it is needed
                    _ = stream.here
                bar.update()
                if bar.n >= bar.total:
                    bar.close()

    for _ in range(min(THREADS, len(waiting))):
        threading.Thread(target=work, daemon=True).start()


def _is_cached(repo_id: str) -> bool:
    """Whether the Hub's cache holds anything of a dataset repo."""
    return (Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="dataset")).is_dir()
