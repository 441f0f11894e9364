"""Trajectories: how they are stored, written, read and cut into windows."""

from .card import write_readme
from .reader import EnvironmentTrajectories, open_dataset
from .schema import EnvironmentInfo
from .windows import WindowSampler
from .writer import TrajectoryWriter

__all__ = [
    "EnvironmentInfo",
    "EnvironmentTrajectories",
    "TrajectoryWriter",
    "WindowSampler",
    "open_dataset",
    "write_readme",
]
