"""Driving, electric drives and problems with several objectives: highway-env, gym-electric-motor, MO-Gymnasium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ldm_hf.environments.generating import by_prefix, newest, registered, rows_of

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
LIMITS = {
    "exit": 18,
    "highway": 40,
    "intersection": 13,
    "lane-keeping": 200,
    "merge": 20,
    "parking": 100,
    "racetrack": 300,
    "roundabout": 11,
    "two-way": 15,
    "u-turn": 10,
}  # steps

MOTORS = {
    "DFIM": "doubly fed induction motor",
    "EESM": "externally excited synchronous motor",
    "ExtExDc": "externally excited DC motor",
    "PMSM": "permanent magnet synchronous motor",
    "PermExDc": "permanently excited DC motor",
    "SCIM": "squirrel cage induction motor",
    "SIXPMSM": "six-phase permanent magnet synchronous motor",
    "SeriesDc": "DC series motor",
    "ShuntDc": "DC shunt motor",
    "SynRM": "synchronous reluctance motor",
}
CONTROLLED = {"CC": "currents", "SC": "speed", "TC": "torque"}
CONVERTER = {"Cont": "continuous duty cycles", "Finite": "a choice of switching states"}

OBJECTIVES = {
    "breakable-bottles": "Carry bottles to their destination quickly and drop none; time, delivery and breakage count alike.",
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
}  # fmt: skip
LOCOMOTION = r"mo-(ant|halfcheetah|hopper|humanoid|swimmer|walker2d)"
DOMAINS = {"minecart": "inventory", "fishwood": "toy_text", "water-reservoir": "energy", "mo-reacher": "robotics"}


def highway() -> Iterator[dict[str, Any]]:
    """highway-env (Leurent 2018); what drives several cars at once is left out. A version is another kind of road or of control there, no edition."""
    ids = [
        name
        for name in registered("highway-env")
        if re.match(f"({'|'.join(HIGHWAY)})-", name) and "multi-agent" not in name
    ]
    for prefix, limit in LIMITS.items():
        chosen = [name for name in ids if name.startswith(f"{prefix}-")]
        yield {
            "domain": "driving",
            "max_episode_steps": limit,
            "max_steps": 2000,  # it steps slowly
            "rows": rows_of(chosen, lambda name: by_prefix(HIGHWAY, name)),
        }


def electric_motor() -> Iterator[dict[str, Any]]:
    """gym-electric-motor (Traue et al. 2020): ten motors, three controlled quantities, two kinds of converter."""

    def task(name: str) -> str:
        converter, controlled, motor, _ = name.split("-")
        return (
            f"Follow the reference of the {CONTROLLED[controlled]} of a {MOTORS[motor]} with {CONVERTER[converter]}."
        )

    yield {
        "domain": "energy",
        "max_episode_steps": 500,
        "wrappers": ["unbounded", "seed_every_reset"],
        "rows": rows_of(
            registered("gym-electric-motor", "(Cont|Finite)-(CC|SC|TC)-"), task, lambda name: f"GEM-{name}"
        ),
    }


def objectives() -> Iterator[dict[str, Any]]:
    """MO-Gymnasium (Felten et al. 2023) with the sum of its objectives as reward."""
    known = f"({'|'.join(OBJECTIVES)})"
    ids = [
        name for name in newest(registered("mo-gymnasium", known)) if not name.endswith("-v4") and "rgb" not in name
    ]  # pixels of the minecart do not follow from the seed
    groups: dict[str, list[str]] = {}
    for name in ids:
        domain = next((domain for prefix, domain in DOMAINS.items() if name.startswith(prefix)), "")
        groups.setdefault(
            domain
            or ("locomotion" if re.match(LOCOMOTION, name) else "control" if name.startswith("mo-") else "grid_world"),
            [],
        ).append(name)
    for domain, members in groups.items():
        yield {
            "domain": domain,
            "wrappers": ["sum_of_rewards"],
            "max_episode_steps": 500,
            "rows": rows_of(members, lambda name: by_prefix(OBJECTIVES, name)),
        }


GENERATORS = {"highway-env": highway, "gym-electric-motor": electric_motor, "mo-gymnasium": objectives}
