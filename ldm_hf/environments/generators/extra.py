"""Libraries too heavy for everybody: what runs on PyBullet (300 MB), and ViZDoom (150 MB). They are the extra ``envs-extra``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .common import by_prefix, newest, registered, rows_of

PANDA = {
    "PandaPickAndPlace": "Lift the cube to the goal.",
    "PandaPush": "Push the cube to the goal.",
    "PandaReach": "Move the gripper to the goal.",
    "PandaSlide": "Hit the puck so that it slides to the goal.",
    "PandaStack": "Stack the two cubes at the goal.",
}
BULLET = {
    "Ant": "Run forward on four legs.",
    "HalfCheetah": "Run forward with half a cheetah.",
    "Hopper": "Hop forward on one leg.",
    "HumanoidFlagrun": "Run with the humanoid to a flag that moves.",
    "HumanoidFlagrunHarder": "Get up and run with the humanoid to a flag that moves, under fire.",
    "Humanoid": "Run forward with the humanoid.",
    "InvertedDoublePendulum": "Balance the two poles on the cart.",
    "InvertedPendulum": "Balance the pole on the cart.",
    "InvertedPendulumSwingup": "Swing the pole of the cart up and balance it.",
    "Pusher": "Push the cylinder to the goal with the arm.",
    "Reacher": "Bring the tip of the arm to the target.",
    "Thrower": "Throw the ball to the goal.",
    "Walker2D": "Walk forward on two legs.",
}
FLYING = {
    "QuadX-Hover": "Hover with the quadcopter.",
    "Rocket-Landing": "Land the rocket on the pad.",
}
DOOM = {
    "VizdoomBasic": "Shoot the monster on the other side of the room.",
    "VizdoomCorridor": "Run through the corridor of enemies to the vest.",
    "VizdoomDeadlyCorridor": "Run through the corridor of enemies to the vest.",
    "VizdoomDefendCenter": "Shoot the monsters that come from all sides.",
    "VizdoomDefendLine": "Shoot the monsters on the other side of the line.",
    "VizdoomHealthGathering": "Walk on acid and collect health.",
    "VizdoomHealthGatheringSupreme": "Walk in a maze of acid, collect health and leave the poison.",
    "VizdoomMyWayHome": "Find the vest in the maze.",
    "VizdoomPredictPosition": "Fire the rocket to where the monster will be.",
    "VizdoomTakeCover": "Dodge the fireballs.",
}


def panda() -> Iterator[dict[str, Any]]:
    """panda-gym (Gallouédec et al. 2021); the flip's texture does not load."""
    pattern = f"({'|'.join(PANDA)})"

    def task(name: str) -> str:
        text = by_prefix(PANDA, name)
        joints = " by its joints" if "Joints" in name else ""
        return f"{text[:-1]}{joints}{' (rewarded for the distance)' if 'Dense' in name else ''}."

    yield {"domain": "robotics", "rows": rows_of(registered("panda-gym", pattern), task)}


def bullet() -> Iterator[dict[str, Any]]:
    """PyBullet's environments."""
    ids = registered("pybullet-envs-gymnasium", ".*BulletEnv-")
    arms = ("Inverted", "Pusher", "Reacher", "Thrower")
    for domain, chosen in (
        ("locomotion", [name for name in ids if not name.startswith(arms)]),
        ("robotics", [name for name in ids if name.startswith(arms)]),
    ):
        yield {
            "domain": domain,
            "rows": rows_of(chosen, lambda name: BULLET[name.split("BulletEnv")[0]]),
        }


def flight() -> Iterator[dict[str, Any]]:
    """PyFlyt (Tai et al. 2023) without what lists its targets in a Sequence."""
    ids = registered("PyFlyt", "PyFlyt/(QuadX-Hover|Rocket)")
    yield {
        "domain": "robotics",
        "rows": rows_of(ids, lambda name: by_prefix(FLYING, name.removeprefix("PyFlyt/")), lambda name: name.replace("/", "-")),
    }


def doom() -> Iterator[dict[str, Any]]:
    """ViZDoom's own scenarios (Kempka et al. 2016), which need no commercial files."""
    ids = newest(registered("vizdoom", f"({'|'.join(DOOM)})-v"))
    yield {
        "domain": "video_games",
        "max_steps": 4000,
        "rows": rows_of(ids, lambda name: DOOM[name.rpartition("-v")[0]]),
    }


GENERATORS = {"panda-gym": panda, "pybullet-envs-gymnasium": bullet, "PyFlyt": flight, "vizdoom": doom}
