"""Where a dataset is, and the streams in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ..errors import DatasetError
from .reader import EnvironmentTrajectories
from .remote import RemoteTrajectories, read_index, unreachable
from .selection import SelectedTrajectories, select_by_return
from .writer import shards

Stream = EnvironmentTrajectories | SelectedTrajectories | RemoteTrajectories
Config = Callable[[], EnvironmentTrajectories | RemoteTrajectories]  # opens it


class Streams(dict[str, Stream]):
    """Streams by the name of their environment, and how often each should be drawn.

    Args:
        streams: by name.
        weights: by name, as `WindowSampler` takes them; equal by default.
    """

    def __init__(self, streams: Mapping[str, Stream], weights: Mapping[str, float] | None = None) -> None:
        super().__init__(streams)
        self.weights = dict.fromkeys(streams, 1.0) if weights is None else dict(weights)


def open_stream(config: Config, min_return_percentile: float | None = None) -> Stream:
    """The stream of one config, or of its better episodes."""
    stream = config()
    if min_return_percentile is None:
        return stream
    return select_by_return(stream.here if isinstance(stream, RemoteTrajectories) else stream, min_return_percentile)


def find_configs(path_or_repo: str | Path, patterns: list[str] | None = None) -> dict[str, Config]:
    """What a dataset has, by name.

    Args:
        path_or_repo: a folder, or a repo on the Hub. Of a repo without an index, what is asked for is downloaded first.
        patterns: of the names asked for, all by default.

    Raises:
        DatasetError: if there is no such dataset, or nothing in it.
    """
    index = None if Path(path_or_repo).is_dir() else read_index(str(path_or_repo))
    if index is not None:
        return dict(index)
    folder = dataset_folder(path_or_repo, patterns)
    return {name: partial(EnvironmentTrajectories, folder / name) for name in config_names(folder)}


def dataset_folder(path_or_repo: str | Path, patterns: list[str] | None = None) -> Path:
    """The local folder of a dataset; what a repo on the Hub holds of the configs asked for is downloaded first.

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
    """Environments that a dataset folder has data of.

    Raises:
        DatasetError: if it has none.
    """
    described = sorted(path.parent for path in folder.glob("*/environment.json"))
    found = [path.name for path in described if shards(path)]
    if not found:
        raise DatasetError(
            f"{folder} is no trajectory dataset: no <environment>/environment.json with shards in it. Make one with `ldm collect` or `ldm import`."
        )
    return found
