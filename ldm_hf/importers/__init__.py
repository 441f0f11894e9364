"""Importers: trajectories in the formats of other tools, as a dataset of ours."""

from .base import Source
from .formats import open_source
from .importing import import_trajectories, preview
from .report import Report
from .table_live import RowReader

__all__ = ["Report", "RowReader", "Source", "import_trajectories", "open_source", "preview"]
