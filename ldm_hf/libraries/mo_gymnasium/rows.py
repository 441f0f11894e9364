"""Rows of MO-Gymnasium (Felten et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ldm_hf.environments.generating import by_prefix, newest, registered, rows_of
from ldm_hf.environments.library_folders import Group

# task texts by the beginning of the name
OBJECTIVES = {
    "breakable-bottles": (
        "Carry bottles to their destination quickly and drop none; time, delivery and breakage count alike."
    ),
    "deep-sea-treasure": "Dive for a treasure; its value and the time it takes count alike.",
    "fishwood": "Fish and chop wood; both count alike.",
    "four-room": "Collect the items of three kinds in four rooms; all kinds count alike.",
    "fruit-tree": "Choose a branch at every fork; the six nutrients of the fruit count alike.",
    "minecart": "Mine two ores and sell them at home; ores and fuel count alike.",
    "mo-ant": "Move the four-legged ant; speed along both axes and effort count alike.",
    "mo-halfcheetah": "Run forward; speed and effort count alike.",
    "mo-hopper": "Hop; speed, height and effort count alike.",
    "mo-humanoid": "Walk forward; speed and effort count alike.",
    "mo-lunar-lander": "Land between the flags; landing, shape of the flight and fuel of both engines count alike.",
    "mo-mountaincar": "Drive the car up the right hill; time, reversing and pushing count alike.",
    "mo-mountaincarcontinuous": "Drive the car up the right hill; time and fuel count alike.",
    "mo-reacher": "Move the tip of the arm among four targets; closeness to each counts alike.",
    "mo-swimmer": "Swim forward; speed and effort count alike.",
    "mo-walker2d": "Walk forward; speed and effort count alike.",
    "resource-gathering": "Bring gold and gems home and survive; all count alike.",
    "water-reservoir": "Release water from the dam; floods and unmet demand count alike.",
}
# domains of the catalogue; the others are control, or grid_world
LOCOMOTION = r"mo-(ant|halfcheetah|hopper|humanoid|swimmer|walker2d)"
DOMAINS = {"minecart": "inventory", "fishwood": "toy_text", "water-reservoir": "energy", "mo-reacher": "robotics"}


def groups() -> Iterator[Group]:
    """All problems, with the sum of their objectives as reward."""
    # pixels of the minecart ("rgb") do not follow from the seed
    ids = newest(registered("mo-gymnasium", f"({'|'.join(OBJECTIVES)})"))
    ids = [name for name in ids if not name.endswith("-v4") and "rgb" not in name]
    by_domain: dict[str, list[str]] = {}
    for name in ids:
        by_domain.setdefault(_domain(name), []).append(name)
    for domain, members in by_domain.items():
        yield {
            "domain": domain,
            "wrappers": ["sum_of_rewards"],
            "rows": rows_of(members, lambda name: by_prefix(OBJECTIVES, name)),
        }


def _domain(name: str) -> str:
    """The domain of an id."""
    for prefix, domain in DOMAINS.items():
        if name.startswith(prefix):
            return domain
    if re.match(LOCOMOTION, name):
        return "locomotion"
    return "control" if name.startswith("mo-") else "grid_world"
