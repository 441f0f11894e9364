"""Rows of Gymnasium-Robotics: grippers and hands (Plappert et al. 2018), mazes (Fu et al. 2020) and a kitchen."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ldm_hf.environments.generating import by_prefix, newest, registered, rows_of
from ldm_hf.environments.library_folders import Group

# task texts by the beginning of the name, and what is put into them
FARAMA = {
    "AdroitHandDoor": "Turn the latch and open the door with the hand.",
    "AdroitHandHammer": "Pick up the hammer and drive the nail in with the hand.",
    "AdroitHandPen": "Turn the pen in the hand to the orientation shown.",
    "AdroitHandRelocate": "Carry the ball to the target with the hand.",
    "AntMaze": "Walk the ant through the {place} to the goal.",
    "FetchPickAndPlace": "Lift the block to the goal.",
    "FetchPush": "Push the block to the goal.",
    "FetchReach": "Move the gripper to the goal.",
    "FetchSlide": "Hit the puck so that it slides to the goal.",
    "FrankaKitchen": "Open the microwave, move the kettle and work the kitchen's switches.",
    "HandManipulateBlock": "Turn the block in the hand to the goal {pose}.",
    "HandManipulateEgg": "Turn the egg in the hand to the goal {pose}.",
    "HandManipulatePen": "Turn the pen in the hand to the goal {pose}.",
    "HandReach": "Bring the fingertips to their goals.",
    "PointMaze": "Roll the ball through the {place} to the goal.",
}
PLACES = {"Large": "large maze", "Medium": "medium maze", "Open": "open arena", "UMaze": "U-shaped maze"}
POSES = {
    "RotateParallel": "rotation about two of its axes",
    "RotateXYZ": "rotation about any axis",
    "RotateZ": "rotation about the vertical",
}


def groups() -> Iterator[Group]:
    """Goals, mazes, hands and the kitchen, in the versions that need no old MuJoCo."""
    ids = registered("gymnasium-robotics", "(Adroit|AntMaze|Fetch|Franka|HandManipulate|HandReach|PointMaze)")
    maze = re.compile("(Ant|Point)Maze")

    def task(name: str) -> str:
        place = next((text for key, text in PLACES.items() if f"Maze_{key}" in name), "")
        pose = next((text for key, text in POSES.items() if key in name), "rotation" if "Rotate" in name else "pose")
        if "ManipulateEgg_" in name or "ManipulatePen_" in name or "ManipulateBlock_" in name or "Full" in name:
            pose = "position and rotation"
        text = by_prefix(FARAMA, name).format(place=place, pose=pose)
        diverse = " that is drawn anew every episode" if "Diverse_G" in name else ""
        start = ", as is the start" if "Diverse_GR" in name else ""
        touch = ", with touch sensors" if "TouchSensors" in name else ""
        dense = " (rewarded for the distance)" if "Dense" in name else ""
        return f"{text[:-1]}{diverse}{start}{touch}{dense}."

    for domain, mazes in (("robotics", False), ("locomotion", True)):
        chosen = [name for name in newest(ids) if bool(maze.match(name)) == mazes]
        yield {"domain": domain, "rows": rows_of(chosen, task)}
