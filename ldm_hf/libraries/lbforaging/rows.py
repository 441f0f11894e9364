"""Rows of level-based foraging (Papoudakis et al. 2021)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ldm_hf.environments.generating import registered, rows_of
from ldm_hf.environments.library_folders import Group

FIELDS = (5, 8, 10, 15)  # cells per side
FORAGERS = ((2, 1), (2, 3), (3, 3), (4, 4))  # numbers of foragers and of pieces of food
# two resets from the same seed differ
NOT_BY_SEED = ("Foraging-10x10-4p-4f-coop-v3", "Foraging-5x5-2p-3f-v3")


def groups() -> Iterator[Group]:
    """Fields of four sizes, where only foragers that together are strong enough can load a piece of food."""
    known = set(registered("lbforaging", "Foraging-"))
    texts = {}
    for side, (players, food), coop in itertools.product(FIELDS, FORAGERS, ("", "-coop")):
        together = ", all together," if coop else ""
        texts[f"Foraging-{side}x{side}-{players}p-{food}f{coop}-v3"] = (
            f"Lead {players} foragers{together} to load {food} pieces of food on a field of {side} by {side}."
        )
    yield {
        "domain": "grid_world",
        "wrappers": ["sum_of_rewards"],
        "max_episode_steps": 50,
        "rows": rows_of([name for name in texts if name in known and name not in NOT_BY_SEED], texts.__getitem__),
    }
