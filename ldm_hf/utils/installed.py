"""Versions of the installed packages."""

import platform
from importlib import metadata

from .. import __version__

PACKAGES = ("torch", "transformers", "gymnasium", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that decide results."""
    found = {package: metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "ldm_hf": __version__, **found}


def package_version(package: str) -> str:
    """The installed version of a package; empty if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
