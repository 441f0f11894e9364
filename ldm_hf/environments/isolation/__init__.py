"""Libraries whose requirements conflict with ours: each runs in its own virtual environment and process."""

from .environments import IsolatedEnv, IsolatedVectorEnv, Recipe
from .installing import install, installed_version, is_installed, is_isolated, pinned_version, python_of

__all__ = [
    "IsolatedEnv",
    "IsolatedVectorEnv",
    "Recipe",
    "install",
    "installed_version",
    "is_installed",
    "is_isolated",
    "pinned_version",
    "python_of",
]
