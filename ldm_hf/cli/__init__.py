"""The console command ``ldm``."""

from .app import main, run

__all__ = ["main", "run"]
