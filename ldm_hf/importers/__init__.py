"""Importers: trajectories in the formats of other tools, as a dataset of ours."""

from .base import Source
from .formats import open_source
from .importing import import_trajectories, preview
from .report import Report

__all__ = ["Report", "Source", "import_trajectories", "open_source", "preview"]
