"""Environments that stand for the whole catalogue where trying all of them takes too long."""

from ldm_hf.environments import catalogue


def representatives() -> list[str]:
    """For each library and each reference that its rows name, the environment of the shortest name."""
    chosen: dict[tuple[str, str | None], str] = {}
    for name, spec in catalogue().items():
        known = chosen.setdefault((spec.library, spec.reference), name)
        if len(name) < len(known):
            chosen[spec.library, spec.reference] = name
    return list(chosen.values())
