"""The layout of a trajectory dataset.

A folder is a Hub dataset repo. Each environment is a config (subset) of its own:

    README.md                    the dataset card; its header lists the configs for `datasets.load_dataset`
    index.json                   written by `ldm push`: lengths, statistics and files of all configs
    CartPole-v1/environment.json spaces, scores, versions, licence, how the data was collected
    CartPole-v1/train-00000.parquet ...

One row is one episode. Its columns hold one list entry per step: ``observation`` (or ``observation.<path>`` for every
leaf of a nested space), ``action``, ``label`` (the reference policy's action), ``reward``, ``terminated``,
``truncated``; and once per episode ``behaviour`` and ``seed``, and ``entity`` and ``time`` where they are known.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import gymnasium
import numpy as np
import pyarrow as pa
from gymnasium import spaces

from ..errors import DatasetError, InvalidNameError, UnsupportedSpaceError, short
from ..spaces import SpaceJson, Steps, leaves, space_from_json
from ..utils.files import read_json, unfinished_file
from ..utils.names import check_name

if TYPE_CHECKING:
    from ..rollouts.returns import Scores

FORMAT_VERSION = 2
# From so many uint8 numbers on, a step is stored as one binary: written 5 to 20 times as fast as a list, and smaller.
BYTES = 64
ROLES = ("observation", "action", "label")
KINDS = {"str": str, "SpaceJson": dict, "dict": dict, "Scores": dict, "int": int}  # of the fields of a description
KNOWN_PER_EPISODE = ("entity", "time")  # columns of texts that not every config has
PER_STEP = {"reward": np.float32, "terminated": np.bool_, "truncated": np.bool_}


class Episode(Steps):
    """A whole episode, as `TrajectoryWriter.write` takes it.

    Attributes:
        behaviour: who acted: ``clean``, ``perturbed-0.3``, ``student-0.5``, or a name that the imported source gives.
        seed: seed that the environment was reset with.
        entity: which of several independent sequences it is of: a station, a store.
        time: time of its first step, as text.
    """

    behaviour: str
    seed: int
    entity: NotRequired[str]
    time: NotRequired[str]


class Facts(TypedDict, total=False):
    """The fields of `EnvironmentInfo` that are known before there are any data."""

    name: str
    env_id: str
    kwargs: dict[str, Any]
    library: str
    version: str
    licence: str
    domain: str
    task: str


@dataclass
class EnvironmentInfo:
    """Facts about the environment of a config, kept in ``environment.json``.

    Args:
        name: name of the config, unique in a dataset.
        env_id: Gymnasium id.
        observation_space: observation space as JSON, see `spaces.space_to_json`.
        action_space: action space as JSON.
        kwargs: keyword arguments of `gymnasium.make`.
        library: library that the environment comes from.
        version: version of the library.
        licence: licence of the library.
        domain: control, robotics, ...
        task: one sentence that says what is to be done.
        reference: method of the reference policy.
        scores: ``{"random": {"mean", "episodes", "seed"}, "reference": {...}}``, mean return per episode; with
            ``std`` and ``returns`` where it was measured for this dataset, with ``ci`` where `ldm reference` had
            measured it.
        collection: settings that the trajectories were collected or imported with.
        versions: versions of the packages involved.
        format_version: version of this layout.

    Raises:
        InvalidNameError: if the name cannot be that of a folder and a config.
        DatasetError: if another field is of the wrong kind.
    """

    name: str
    env_id: str
    observation_space: SpaceJson
    action_space: SpaceJson
    kwargs: dict[str, Any] = field(default_factory=dict)
    library: str = ""
    version: str = ""
    licence: str = ""
    domain: str = "custom"
    task: str = ""
    reference: str = ""
    scores: Scores = field(default_factory=dict)
    collection: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_name(self.name)
        for item in fields(self):
            value = getattr(self, item.name)
            kind = next(kind for prefix, kind in KINDS.items() if str(item.type).startswith(prefix))
            if not isinstance(value, kind):
                raise DatasetError(f"{self.name}: {item.name} should be of type {kind.__name__}, is {short(value)}.")
        for label, score in self.scores.items():
            if not isinstance(score, dict) or not isinstance(score.get("mean"), int | float):
                raise DatasetError(f"{self.name}: the score {label} has no mean: {short(score)}.")

    def save(self, folder: Path) -> None:
        """Writes ``environment.json``, whole or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        with unfinished_file(folder / "environment.json") as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> EnvironmentInfo:
        """Reads ``environment.json``.

        Raises:
            DatasetError: if it is missing, damaged or of a later format.
        """
        path = folder / "environment.json"
        try:
            data = read_json(path)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} is missing or damaged ({error}); collect this environment again.") from error
        return cls.of(data, str(path))

    @classmethod
    def of(cls, data: Any, place: str) -> EnvironmentInfo:
        """Takes over what ``environment.json`` says.

        Args:
            data: the parsed JSON.
            place: where it was read from, for messages.

        Raises:
            DatasetError: if it is damaged or of a later format.
        """
        try:
            version = int(data.get("format_version", FORMAT_VERSION))
            known = {item.name for item in fields(cls)}
            given = {name: value for name, value in data.items() if name in known and value is not None}
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise DatasetError(f"{place} is missing or damaged ({error}); collect this environment again.") from error
        if version > FORMAT_VERSION:  # before the fields, which may have changed
            raise DatasetError(
                f"{place} has format {version}, this ldm_hf reads up to {FORMAT_VERSION}: update ldm_hf."
            )
        try:
            return cls(**given)
        except InvalidNameError as error:
            raise InvalidNameError(f"{place}: {error}") from error
        except (DatasetError, TypeError) as error:
            raise DatasetError(f"{place} is missing or damaged ({error}); collect this environment again.") from error

    @property
    def spaces(self) -> tuple[gymnasium.Space[object], gymnasium.Space[object]]:
        """Observation and action space.

        Raises:
            DatasetError: if one is damaged.
        """
        try:
            return space_from_json(self.observation_space), space_from_json(self.action_space)
        except UnsupportedSpaceError as error:
            raise DatasetError(
                f"{self.name}/environment.json describes no space that can be built ({error}); "
                "collect this environment again."
            ) from error


@dataclass(frozen=True)
class Column:
    """One column of step data.

    Args:
        name: name of the column.
        role: observation, action, label, reward, terminated or truncated.
        path: path of the leaf, see `spaces.leaves`.
        space: space of the leaf; None for the reward and the flags.
    """

    name: str
    role: str
    path: str
    space: gymnasium.Space[object] | None = None

    @property
    def is_text(self) -> bool:
        """Whether the values are strings."""
        return isinstance(self.space, spaces.Text)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one step."""
        return () if self.space is None or self.is_text else tuple(self.space.shape or ())

    @property
    def dtype(self) -> np.dtype:
        """Type of the values in memory."""
        return (
            np.dtype(PER_STEP[self.role])
            if self.space is None
            else np.dtype(object if self.is_text else self.space.dtype)
        )

    @property
    def is_bytes(self) -> bool:
        """Whether a step is stored as one binary: pixels and large grids."""
        return isinstance(self.space, spaces.Box) and self.dtype == np.uint8 and self.size >= BYTES

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of one episode in a shard."""
        return pa.list_(pa.binary()) if self.is_bytes else self.list_type

    @property
    def list_type(self) -> pa.DataType:
        """Type of one episode in format 1, which knew no binaries."""
        if self.is_text:
            return pa.list_(pa.string())
        value = pa.from_numpy_dtype(np.uint8 if self.dtype == bool and self.space is not None else self.dtype)
        return pa.list_(pa.list_(value)) if self.shape else pa.list_(value)

    @property
    def size(self) -> int:
        """Number of scalars of one step."""
        return math.prod(self.shape)


def columns(observation_space: gymnasium.Space[object], action_space: gymnasium.Space[object]) -> list[Column]:
    """All columns of step data for a pair of spaces."""
    found = []
    for role in ROLES:
        for leaf in leaves(observation_space if role == "observation" else action_space):
            found.append(Column(f"{role}.{leaf.path}" if leaf.path else role, role, leaf.path, leaf.space))
    return found + [Column(name, name, "") for name in PER_STEP]
