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


def groups() -> Iterator[dict[str, Any]]:
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
