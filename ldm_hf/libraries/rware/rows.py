"""Teams that one policy drives: RWARE's warehouse robots and level-based foraging (Papoudakis et al. 2021). The reward is the team's sum."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ldm_hf.environments.generating import registered, rows_of

HALLS = ("tiny", "small", "medium", "large")
ROBOTS = (1, 2, 4)
PACE = {"-easy": ", of which many are asked for", "": "", "-hard": ", of which few are asked for"}
NOTHING_ASKED = "-1ag-hard-"  # half a request for each robot, which the library rounds to none: nothing can be earned
FIELDS = (5, 8, 10, 15)  # squares to a side
NOT_BY_SEED = ("Foraging-10x10-4p-4f-coop-v3", "Foraging-5x5-2p-3f-v3")  # two resets from the same seed differ
FORAGERS = ((2, 1), (2, 3), (3, 3), (4, 4))  # and how much food there is


def warehouse() -> Iterator[dict[str, Any]]:
    """RWARE's halls of four sizes with few robots."""
    known = set(registered("rware", "rware-"))
    texts = {
        f"rware-{hall}-{robots}ag{pace}-v2": f"Drive {robots} robot{'s' * (robots > 1)} of a {hall} warehouse to fetch and return shelves{asked}."
        for hall, robots, (pace, asked) in itertools.product(HALLS, ROBOTS, PACE.items())
    }
    yield {
        "domain": "inventory",
        "wrappers": ["sum_of_rewards"],
        "max_episode_steps": 500,
        "rows": rows_of([name for name in texts if name in known and NOTHING_ASKED not in name], texts.__getitem__),
    }


def foraging() -> Iterator[dict[str, Any]]:
    """Level-based foraging: food is heavy, and only foragers that together are strong enough can load it."""
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


GENERATORS = {"rware": warehouse, "lbforaging": foraging}
