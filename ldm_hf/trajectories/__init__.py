"""Trajectories: how they are stored, written, read and cut into windows."""

from .card import write_readme
from .mixture import MixedDataset, Mixture, open_mixture
from .opening import open_dataset
from .reader import EnvironmentTrajectories
from .schema import EnvironmentInfo
from .selection import SelectedTrajectories, select_by_return
from .streams import Streams
from .windows import WindowSampler
from .writer import TrajectoryWriter

__all__ = [
    "EnvironmentInfo",
    "EnvironmentTrajectories",
    "MixedDataset",
    "Mixture",
    "SelectedTrajectories",
    "Streams",
    "TrajectoryWriter",
    "WindowSampler",
    "open_dataset",
    "open_mixture",
    "select_by_return",
    "write_readme",
]
