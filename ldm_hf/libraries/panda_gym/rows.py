"""Libraries too heavy for everybody, which are the extra ``envs-extra``: panda-gym brings PyBullet (300 MB)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ldm_hf.environments.generating import by_prefix, registered, rows_of

PANDA = {
    "PandaPickAndPlace": "Lift the cube to the goal.",
    "PandaPush": "Push the cube to the goal.",
    "PandaReach": "Move the gripper to the goal.",
    "PandaSlide": "Hit the puck so that it slides to the goal.",
}


def groups() -> Iterator[dict[str, Any]]:
    """panda-gym (Gallouédec et al. 2021); the flip's texture does not load, stacked cubes do not follow from the seed."""
    pattern = f"({'|'.join(PANDA)})"

    def task(name: str) -> str:
        text = by_prefix(PANDA, name)
        joints = " by its joints" if "Joints" in name else ""
        return f"{text[:-1]}{joints}{' (rewarded for the distance)' if 'Dense' in name else ''}."

    yield {
        "domain": "robotics",
        "wrappers": ["unbounded", "seed_every_reset"],
        "rows": rows_of(registered("panda-gym", pattern), task),
    }
