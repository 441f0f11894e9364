"""Importers: trajectories in the formats of other tools, as a dataset of ours."""

from .base import Source
from .formats import open_source
from .importing import import_trajectories

__all__ = ["Source", "import_trajectories", "open_source"]
