"""Environments that stand for the whole catalogue where trying all of them takes too long."""

from importlib import metadata

from ldm_hf.environments import catalogue
from ldm_hf.environments.isolation import is_installed, is_isolated


def installed(library: str) -> bool:
    """Whether the environments of a library can be made here."""
    if is_isolated(library):
        return is_installed(library)
    try:
        return bool(metadata.version(library))
    except metadata.PackageNotFoundError:
        return False


def representatives() -> list[str]:
    """For each library and each reference that its rows name, the environment of the shortest name."""
    chosen: dict[tuple[str, str | None], str] = {}
    for name, spec in catalogue().items():
        known = chosen.setdefault((spec.library, spec.reference), name)
        if len(name) < len(known):
            chosen[spec.library, spec.reference] = name
    return list(chosen.values())
