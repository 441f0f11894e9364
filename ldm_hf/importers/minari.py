"""Minari datasets, in any of its storage formats (HDF5, Arrow, Parquet); read by `minari` itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import DatasetError, MissingExtraError
from ..spaces import Observation
from .base import LoggedEpisode, Source
from .identity import folder_identity, sorted_text


class MinariSource(Source):
    """A Minari dataset. The observation after the last step of an episode is left out.

    Args:
        source: folder of the dataset (the one with ``data`` in it, or ``data`` itself), or the id of one that
            ``minari download`` has fetched.

    Raises:
        MissingExtraError: if minari is not installed.
        DatasetError: if there is no such dataset, or it is damaged.
    """

    def __init__(self, source: str) -> None:
        try:
            import minari
        except ImportError as error:
            raise MissingExtraError("minari", "import") from error
        folder = Path(source).expanduser()
        self.source = source
        try:
            if folder.is_dir():
                self.dataset = minari.MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
            else:
                self.dataset = minari.load_dataset(source)
        except ImportError as error:  # its storage format needs a library
            raise MissingExtraError("h5py", "import") from error
        except Exception as error:  # whatever the libraries raise that read its files
            raise DatasetError(
                f"{source} is no Minari dataset that can be read ({error}); download it first: minari download {source}"
            ) from error
        self.observation_space, self.action_space = self.dataset.observation_space, self.dataset.action_space
        self.num_episodes = self.dataset.total_episodes
        metadata, spec = self.dataset.storage.metadata, self.dataset.env_spec
        name = self.dataset.id.replace("/", "-")
        self.description = {
            "name": name,
            "env_id": spec.id if spec else name,
            "kwargs": dict(spec.kwargs) if spec else {},
        }
        self.behaviour = sorted_text(metadata.get("algorithm_name") or "logged")
        kept = ("author", "author_email", "code_permalink", "description", "minari_version")
        self.origin = {"dataset": self.dataset.id, "episodes": self.num_episodes, "steps": self.dataset.total_steps}
        self.origin |= {key: sorted_text(metadata[key]) for key in kept if metadata.get(key)}
        self.origin["content"] = folder_identity(Path(self.dataset.storage.data_path))

    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on."""
        numbers = self.dataset.episode_indices[start:]
        try:
            metadata = self.dataset.storage.get_episode_metadata(numbers)
            for episode, described in zip(self.dataset.iterate_episodes(numbers), metadata, strict=True):
                yield {
                    "observation": _first(episode.observations, len(episode.rewards)),
                    "action": episode.actions,
                    "reward": np.asarray(episode.rewards),
                    "terminated": np.asarray(episode.terminations),
                    "truncated": np.asarray(episode.truncations),
                    "seed": int(described.get("seed") or 0),
                    "behaviour": self.behaviour,
                }
        except (OSError, KeyError, ValueError) as error:
            raise DatasetError(f"{self.source}: an episode cannot be read ({error}); download it again.") from error


def _first(values: Observation, count: int) -> Observation:
    """The first ``count`` steps of every leaf."""
    if isinstance(values, dict):
        return {key: _first(child, count) for key, child in values.items()}
    if isinstance(values, tuple):
        return tuple(_first(child, count) for child in values)
    return values[:count]
