"""Rows of highway-env (Leurent 2018)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from ldm_hf.environments.generating import by_prefix, registered, rows_of
from ldm_hf.environments.library_folders import Group

# task texts by the beginning of the name
HIGHWAY = {
    "exit": "Leave the highway at the exit.",
    "highway": "Drive fast on the highway and do not collide.",
    "intersection": "Cross the intersection without a collision.",
    "lane-keeping": "Keep to the centre of the lane.",
    "merge": "Pass the ramp and let others merge.",
    "parking": "Park the car in the marked space.",
    "parking-parked": "Park the car in the marked space between parked ones.",
    "racetrack": "Follow the race track and do not collide.",
    "racetrack-large": "Follow the large race track and do not collide.",
    "racetrack-oval": "Follow the oval race track and do not collide.",
    "roundabout": "Drive through the roundabout to the exit ahead.",
    "two-way": "Overtake on a road with oncoming traffic.",
    "u-turn": "Make a U-turn between other cars.",
}
# steps of an episode (`duration` times `policy_frequency` of the library), by the beginning of the name; None: no limit
LIMITS = {
    "exit": 18,
    "highway": 40,
    "highway-fast": 30,
    "intersection": 13,
    "lane-keeping": 200,
    "merge": None,
    "parking": 500,
    "parking-ActionRepeat": 20,
    "racetrack": 1500,
    "roundabout": 11,
    "roundabout-generic": 17,
    "two-way": 15,
    "u-turn": 10,
}


def groups() -> Iterator[Group]:
    """All roads on which one car is driven.

    Versions are kept side by side: there, a version is another kind of road or of control, not a later edition.
    """
    ids = [
        name
        for name in registered("highway-env")
        if re.match(f"({'|'.join(HIGHWAY)})-", name) and "multi-agent" not in name
    ]
    for limit, members in itertools.groupby(ids, lambda name: by_prefix(LIMITS, name)):
        yield {
            "domain": "driving",
            **({} if limit is None else {"max_episode_steps": limit}),
            "max_steps": 2000,  # steps are slow
            "rows": rows_of(members, lambda name: by_prefix(HIGHWAY, name)),
        }
