"""Importers: trajectories in the formats of other tools, as a dataset of ours."""

from .base import Source
from .opening import open_source
from .running import import_trajectories

__all__ = ["Source", "import_trajectories", "open_source"]
