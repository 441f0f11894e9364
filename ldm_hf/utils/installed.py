"""Versions of the installed packages that decide results."""

import platform
from importlib.metadata import version

PACKAGES = ("ldm_hf", "torch", "transformers", "gymnasium", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
