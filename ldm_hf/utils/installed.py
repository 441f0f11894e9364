"""Versions that results were made with."""

import platform
from importlib.metadata import version

PACKAGES = ("ldm_hf", "torch", "transformers", "gymnasium", "numpy")


def versions() -> dict[str, str]:
    """Of Python and the packages that decide results."""
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
