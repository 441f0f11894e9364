"""The layout of a trajectory dataset.

A folder is a Hub dataset repo. Each environment is a config (subset) of its own:

    README.md                    the dataset card; its header lists the configs for `datasets.load_dataset`
    index.json                   written by `ldm push`: lengths, statistics and files of all configs
    CartPole-v1/environment.json spaces, scores, versions, licence, how the data was collected
    CartPole-v1/train-00000.parquet ...

One row is one episode. Its columns hold one list entry per step: ``observation`` (or ``observation.<path>`` for every leaf of a nested space), ``action``,
``label`` (the reference policy's action), ``reward``, ``terminated``, ``truncated``; and once per episode ``behaviour`` and ``seed``.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pyarrow as pa
from gymnasium import spaces

from ..errors import DatasetError
from ..spaces import Steps, leaves, space_from_json
from ..utils.files import write_atomically

FORMAT_VERSION = 2
BYTES = 64  # uint8 numbers of a step from which on they are one binary: written 5 to 20 times as fast as a list, and smaller
ROLES = ("observation", "action", "label")
PER_STEP = {"reward": np.float32, "terminated": np.bool_, "truncated": np.bool_}


class Episode(Steps):
    """A whole episode, as `TrajectoryWriter.write` takes it.

    Attributes:
        behaviour: who acted: ``clean``, ``perturbed-0.3``, ``student-0.5``, or a name of the source's.
        seed: that the environment was reset with.
    """

    behaviour: str
    seed: int


@dataclass
class EnvironmentInfo:
    """What is known about the environment of a config; kept in ``environment.json``.

    Args:
        name: of the config, unique in a dataset.
        env_id: Gymnasium id.
        observation_space: as `spaces.space_to_json` describes it.
        action_space: likewise.
        kwargs: of `gymnasium.make`.
        library: that the environment comes from.
        version: of the library.
        licence: of the library.
        domain: control, robotics, ...
        task: one sentence that says what is to be done.
        reference: method of the reference policy.
        scores: ``{"random": {"mean", "episodes", "seed"}, "reference": {...}}``, mean return per episode; with ``std`` and ``returns`` where it was
            measured for this dataset, with ``ci`` where `ldm reference` had measured it.
        collection: how the trajectories were collected.
        versions: of the packages involved.
        format_version: of this layout.
    """

    name: str
    env_id: str
    observation_space: dict[str, Any]
    action_space: dict[str, Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    library: str = ""
    version: str = ""
    licence: str = ""
    domain: str = "custom"
    task: str = ""
    reference: str = ""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    collection: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def save(self, folder: Path) -> None:
        """Writes ``environment.json``, whole or not at all."""
        write_atomically(folder / "environment.json", json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> EnvironmentInfo:
        """Reads ``environment.json``.

        Raises:
            DatasetError: if it is missing, damaged or of a later format.
        """
        path = folder / "environment.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} is missing or damaged ({error}); collect this environment again.") from error
        return cls.of(data, str(path))

    @classmethod
    def of(cls, data: Any, place: str) -> EnvironmentInfo:
        """What ``environment.json`` says.

        Raises:
            DatasetError: if it is damaged or of a later format; names the ``place`` that it was read from.
        """
        try:
            version = int(data.get("format_version", FORMAT_VERSION))
            if version > FORMAT_VERSION:  # before the fields, which may have changed
                raise DatasetError(
                    f"{place} has format {version}, this ldm_hf reads up to {FORMAT_VERSION}: update ldm_hf."
                )
            known = {item.name for item in fields(cls)}
            return cls(**{name: value for name, value in data.items() if name in known})
        except (ValueError, TypeError, AttributeError) as error:
            raise DatasetError(f"{place} is missing or damaged ({error}); collect this environment again.") from error

    @property
    def spaces(self) -> tuple[gymnasium.Space, gymnasium.Space]:
        """Observation and action space."""
        return space_from_json(self.observation_space), space_from_json(self.action_space)


@dataclass(frozen=True)
class Column:
    """One column of step data: its name, the role and path it belongs to, and the leaf's space (None for reward and flags)."""

    name: str
    role: str
    path: str
    space: gymnasium.Space | None = None

    @property
    def is_text(self) -> bool:
        return isinstance(self.space, spaces.Text)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one step."""
        return () if self.space is None or self.is_text else tuple(self.space.shape or ())

    @property
    def dtype(self) -> np.dtype:
        return (
            np.dtype(PER_STEP[self.role])
            if self.space is None
            else np.dtype(object if self.is_text else self.space.dtype)
        )

    @property
    def is_bytes(self) -> bool:
        """Pixels and large grids."""
        return isinstance(self.space, spaces.Box) and self.dtype == np.uint8 and self.size >= BYTES

    @property
    def arrow_type(self) -> pa.DataType:
        """Of one episode."""
        return pa.list_(pa.binary()) if self.is_bytes else self.list_type

    @property
    def list_type(self) -> pa.DataType:
        """Of one episode in format 1, which knew no binaries."""
        if self.is_text:
            return pa.list_(pa.string())
        value = pa.from_numpy_dtype(np.uint8 if self.dtype == bool and self.space is not None else self.dtype)
        return pa.list_(pa.list_(value)) if self.shape else pa.list_(value)

    @property
    def size(self) -> int:
        """Scalars of one step."""
        return math.prod(self.shape)


def columns(observation_space: gymnasium.Space, action_space: gymnasium.Space) -> list[Column]:
    """All columns of step data for a pair of spaces."""
    found = []
    for role in ROLES:
        for leaf in leaves(observation_space if role == "observation" else action_space):
            found.append(Column(f"{role}.{leaf.path}" if leaf.path else role, role, leaf.path, leaf.space))
    return found + [Column(name, name, "") for name in PER_STEP]
