"""Rows of RWARE (Papoudakis et al. 2021)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ldm_hf.environments.generating import registered, rows_of
from ldm_hf.environments.library_folders import Group

HALLS = ("tiny", "small", "medium", "large")
ROBOTS = (1, 2, 4)
PACES = {"-easy": ", of which many are asked for", "": "", "-hard": ", of which few are asked for"}
# half a request per robot, which the library rounds to none: nothing can be earned
NOTHING_ASKED = "-1ag-hard-"


def groups() -> Iterator[Group]:
    """Halls of four sizes with few robots; the reward is the sum of the team's."""
    known = set(registered("rware", "rware-"))
    texts = {}
    for hall, robots, (pace, asked) in itertools.product(HALLS, ROBOTS, PACES.items()):
        team = f"{robots} robot{'s' * (robots > 1)}"
        text = f"Drive {team} of a {hall} warehouse to fetch and return shelves{asked}."
        texts[f"rware-{hall}-{robots}ag{pace}-v2"] = text
    yield {
        "domain": "inventory",
        "wrappers": ["sum_of_rewards"],
        "max_episode_steps": 500,
        "rows": rows_of([name for name in texts if name in known and NOTHING_ASKED not in name], texts.__getitem__),
    }
