"""Rows of panda-gym (Gallouédec et al. 2021); it brings PyBullet (300 MB), hence the extra ``envs-extra``."""

from __future__ import annotations

from collections.abc import Iterator

from ldm_hf.environments.generating import by_prefix, registered, rows_of
from ldm_hf.environments.library_folders import Group

# task texts by the beginning of the name
PANDA = {
    "PandaPickAndPlace": "Lift the cube to the goal.",
    "PandaPush": "Push the cube to the goal.",
    "PandaReach": "Move the gripper to the goal.",
    "PandaSlide": "Hit the puck so that it slides to the goal.",
}


def groups() -> Iterator[Group]:
    """All tasks but two: the texture of the flip does not load, stacked cubes do not follow from the seed."""
    pattern = f"({'|'.join(PANDA)})"

    def task(name: str) -> str:
        text = by_prefix(PANDA, name)
        joints = " by its joints" if "Joints" in name else ""
        dense = " (rewarded for the distance)" if "Dense" in name else ""
        return f"{text[:-1]}{joints}{dense}."

    yield {
        "domain": "robotics",
        "wrappers": ["unbounded", "seed_every_reset"],
        "rows": rows_of(registered("panda-gym", pattern), task),
    }
