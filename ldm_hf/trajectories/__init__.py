"""Trajectories: how they are stored, written, read and cut into windows."""

from .card import write_readme
from .dataset import open_dataset
from .describing import Summary, describe, draw_returns
from .mixture import MixedDataset, Mixture, open_mixture
from .reader import EnvironmentTrajectories
from .schema import EnvironmentInfo
from .selection import SelectedTrajectories, select_by_return, weigh_by_return
from .streams import Streams
from .validation import Finding, validate
from .windows import WindowSampler
from .writer import TrajectoryWriter

__all__ = [
    "EnvironmentInfo",
    "EnvironmentTrajectories",
    "Finding",
    "MixedDataset",
    "Mixture",
    "SelectedTrajectories",
    "Streams",
    "Summary",
    "TrajectoryWriter",
    "WindowSampler",
    "describe",
    "draw_returns",
    "open_dataset",
    "open_mixture",
    "select_by_return",
    "validate",
    "weigh_by_return",
    "write_readme",
]
