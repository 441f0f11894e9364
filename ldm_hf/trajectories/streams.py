"""Finds a dataset in a folder or on the Hub, and opens its streams."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import gymnasium
import numpy as np
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from tqdm.auto import tqdm

from ..errors import DatasetError
from ..spaces import Statistics, Steps
from .reader import EnvironmentTrajectories
from .remote import RemoteTrajectories, read_index, unreachable
from .schema import EnvironmentInfo
from .selection import SelectedTrajectories, select, select_by_return
from .splitting import test_episodes
from .writer import shards


class Stream(Protocol):
    """The episodes of one environment one after another, in a folder or on the Hub, all of them or some.

    Attributes:
        info: what is known about the environment.
        observation_space: observation space of the environment.
        action_space: action space of the environment.
    """

    info: EnvironmentInfo
    observation_space: gymnasium.Space[object]
    action_space: gymnasium.Space[object]

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""

    @property
    def num_steps(self) -> int:
        """Number of steps of all episodes."""

    @property
    def episode_starts(self) -> np.ndarray:
        """First step of every episode, and the number of steps, ``(num_episodes + 1,)``."""

    def slice(self, start: int, stop: int) -> Steps:
        """Steps ``start`` to ``stop``, across the ends of episodes."""

    def part(self, start: int, stop: int) -> Stream:
        """The stream of the episodes ``start`` to ``stop`` alone."""

    def statistics(self) -> Statistics:
        """Mean and deviation of numeric leaves and of the reward."""

    def episode_returns(self) -> np.ndarray:
        """Sum of rewards of every episode ``(num_episodes,)``."""


Config = Callable[[], EnvironmentTrajectories | RemoteTrajectories]
"""Opens the stream of one config."""


class Streams(dict[str, Stream]):
    """Streams by the name of their environment, and how often each should be drawn.

    Args:
        streams: streams by name.
        weights: weights by name, as `WindowSampler` takes them; equal by default.
    """

    def __init__(self, streams: Mapping[str, Stream], weights: Mapping[str, float] | None = None) -> None:
        super().__init__(streams)
        self.weights = dict.fromkeys(streams, 1.0) if weights is None else dict(weights)


def open_stream(config: Config, min_return_percentile: float | None = None, left_out: str | None = None) -> Stream:
    """The stream of one config without the episodes ``left_out`` for the test, or the better episodes of it."""
    stream = config()
    if min_return_percentile is None and left_out is None:
        return stream
    chosen: EnvironmentTrajectories | SelectedTrajectories
    chosen = whole = stream.here if isinstance(stream, RemoteTrajectories) else stream
    if left_out is not None:
        chosen = select(whole, np.flatnonzero(~test_episodes(whole, left_out)))
    return chosen if min_return_percentile is None else select_by_return(chosen, min_return_percentile)


def find_configs(path_or_repo: str | Path, patterns: list[str] | None = None) -> dict[str, Config]:
    """The configs of a dataset by name.

    Args:
        path_or_repo: a folder, or a repo on the Hub. If the repo has no index, the configs asked for are downloaded
            first.
        patterns: patterns of the names asked for; all by default.

    Raises:
        DatasetError: if there is no such dataset, or nothing in it.
    """
    index = None if Path(path_or_repo).is_dir() else read_index(str(path_or_repo))
    if index is not None:
        return dict(index)
    folder = dataset_folder(path_or_repo, patterns)
    return {name: partial(EnvironmentTrajectories, folder / name) for name in config_names(folder)}


def dataset_folder(path_or_repo: str | Path, patterns: list[str] | None = None) -> Path:
    """The local folder of a dataset; of a repo on the Hub, the configs asked for are downloaded first.

    Raises:
        DatasetError: if there is neither such a folder nor such a repo.
    """
    folder = Path(path_or_repo)
    if folder.is_dir():
        return folder
    allowed = None if patterns is None else ["*/environment.json", *(f"{pattern}/*" for pattern in patterns)]
    try:
        return Path(snapshot_download(str(path_or_repo), repo_type="dataset", allow_patterns=allowed))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise unreachable(path_or_repo, error) from error


def config_names(folder: Path) -> list[str]:
    """Names of the environments that a dataset folder has data of.

    Raises:
        DatasetError: if it has none.
    """
    described = sorted(path.parent for path in folder.glob("*/environment.json"))
    found = [path.name for path in described if shards(path)]
    if not found:
        raise DatasetError(
            f"{folder} is no trajectory dataset: no <environment>/environment.json with shards in it. "
            "Make one with `ldm collect` or `ldm import`."
        )
    return found


def opening(names: Sequence[str], what: str) -> Iterable[str]:
    """Names with a bar beside them, if they are many; of several processes of one run, the first of a machine shows it.

    Args:
        names: names of the environments to open.
        what: what the bar is called.
    """
    other = os.environ.get("LOCAL_RANK", "0") != "0"
    bar: Iterable[str] = tqdm(names, desc=what, disable=other or len(names) < 8, leave=False)
    return bar
