"""Manipulation and locomotion: Meta-World, Gymnasium-Robotics, dm_control."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ldm_hf.environments.generating import by_prefix, newest, registered, rows_of

METAWORLD = {
    "assembly": "Put the ring onto the peg.",
    "basketball": "Drop the ball through the hoop.",
    "bin-picking": "Carry the puck from one bin into the other.",
    "box-close": "Put the lid onto the box.",
    "button-press-topdown-wall": "Press the button behind the wall from the top.",
    "button-press-topdown": "Press the button from the top.",
    "button-press-wall": "Press the button behind the wall.",
    "button-press": "Press the button.",
    "coffee-button": "Press the button of the coffee machine.",
    "coffee-pull": "Pull the mug away from the coffee machine.",
    "coffee-push": "Push the mug under the coffee machine.",
    "dial-turn": "Turn the dial.",
    "disassemble": "Take the ring off the peg.",
    "door-close": "Close the door.",
    "door-lock": "Lock the door.",
    "door-open": "Open the door.",
    "door-unlock": "Unlock the door.",
    "drawer-close": "Close the drawer.",
    "drawer-open": "Open the drawer.",
    "faucet-close": "Turn the faucet off.",
    "faucet-open": "Turn the faucet on.",
    "hammer": "Drive the nail in with the hammer.",
    "hand-insert": "Put the gripper into the hole.",
    "handle-press-side": "Press the handle down from the side.",
    "handle-press": "Press the handle down.",
    "handle-pull-side": "Pull the handle up from the side.",
    "handle-pull": "Pull the handle up.",
    "lever-pull": "Pull the lever up.",
    "peg-insert-side": "Insert the peg into the hole from the side.",
    "peg-unplug-side": "Pull the peg out to the side.",
    "pick-out-of-hole": "Take the puck out of the hole.",
    "pick-place-wall": "Lift the puck over the wall to the goal.",
    "pick-place": "Carry the puck to the goal in the air.",
    "plate-slide-back-side": "Slide the plate out of the cabinet sideways.",
    "plate-slide-back": "Slide the plate out of the cabinet.",
    "plate-slide-side": "Slide the plate into the cabinet sideways.",
    "plate-slide": "Slide the plate into the cabinet.",
    "push-back": "Push the puck back to the goal.",
    "push-wall": "Push the puck around the wall to the goal.",
    "push": "Push the puck to the goal.",
    "reach-wall": "Reach the goal position behind the wall.",
    "reach": "Reach the goal position.",
    "shelf-place": "Put the puck onto the shelf.",
    "soccer": "Kick the ball into the goal.",
    "stick-pull": "Pull the box with the stick.",
    "stick-push": "Push the box with the stick.",
    "sweep-into": "Sweep the puck into the hole.",
    "sweep": "Sweep the puck off the table.",
    "window-close": "Close the window.",
    "window-open": "Open the window.",
}

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

CONTROL_SUITE = {
    "acrobot-swingup": "Swing the double pendulum up and keep it there.",
    "ball_in_cup-catch": "Swing the ball into the cup.",
    "cartpole-balance": "Balance the pole on the cart from upright.",
    "cartpole-swingup": "Swing the pole of the cart up and balance it.",
    "cartpole-two_poles": "Balance two poles, one on the other, on the cart.",
    "cartpole-three_poles": "Balance three poles, one on the other, on the cart.",
    "cheetah-run": "Run forward at the target speed with half a cheetah.",
    "dog-fetch": "Run to the ball and bring it back as the dog.",
    "dog-run": "Run with the dog.",
    "dog-stand": "Stand with the dog.",
    "dog-trot": "Trot with the dog.",
    "dog-walk": "Walk with the dog.",
    "finger-spin": "Spin the body with the finger.",
    "finger-turn_easy": "Turn the body with the finger until its tip is in the large target.",
    "finger-turn_hard": "Turn the body with the finger until its tip is in the small target.",
    "fish-swim": "Swim to the target with the fish.",
    "fish-upright": "Turn the fish upright.",
    "hopper-hop": "Hop forward on one leg.",
    "hopper-stand": "Stand on one leg.",
    "humanoid_CMU-run": "Run with the detailed humanoid.",
    "humanoid_CMU-stand": "Stand with the detailed humanoid.",
    "humanoid_CMU-walk": "Walk with the detailed humanoid.",
    "humanoid-run": "Run with the humanoid.",
    "humanoid-run_pure_state": "Run with the humanoid, whose raw state is seen.",
    "humanoid-stand": "Stand with the humanoid.",
    "humanoid-walk": "Walk with the humanoid.",
    "lift_brick": "Lift the brick with the arm.",
    "lift_large_box": "Lift the large box with the arm.",
    "lqr-lqr_2_1": "Bring two masses with one motor to rest at little effort.",
    "lqr-lqr_6_2": "Bring six masses with two motors to rest at little effort.",
    "manipulator-bring_ball": "Bring the ball to the target with the gripper.",
    "manipulator-bring_peg": "Bring the peg to the target with the gripper.",
    "manipulator-insert_ball": "Insert the ball into the basket with the gripper.",
    "manipulator-insert_peg": "Insert the peg into the slot with the gripper.",
    "pendulum-swingup": "Swing the pendulum up with a weak motor.",
    "place_brick": "Place the brick on the pedestal with the arm.",
    "place_cradle": "Place the object in the cradle with the arm.",
    "point_mass-easy": "Move the mass to the centre.",
    "point_mass-hard": "Move the mass to the centre with motors whose directions change every episode.",
    "quadruped-escape": "Climb out of the bowl on four legs.",
    "quadruped-fetch": "Push the ball to the target on four legs.",
    "quadruped-run": "Run on four legs.",
    "quadruped-walk": "Walk on four legs.",
    "reach_duplo": "Move the arm to the brick.",
    "reach_site": "Move the arm to the target.",
    "reacher-easy": "Bring the tip of the arm to the large target.",
    "reacher-hard": "Bring the tip of the arm to the small target.",
    "reassemble_3_bricks": "Take three stacked bricks apart and stack them in another order.",
    "reassemble_5_bricks": "Take five stacked bricks apart and stack them in another order.",
    "stack_2_bricks": "Stack two bricks with the arm.",
    "stack_2_of_3_bricks": "Stack the two right ones of three bricks with the arm.",
    "stack_3_bricks": "Stack three bricks with the arm.",
    "stacker-stack_2": "Stack two boxes at the target with the gripper.",
    "stacker-stack_4": "Stack four boxes at the target with the gripper.",
    "swimmer-swimmer6": "Swim to the target with a body of six links.",
    "swimmer-swimmer15": "Swim to the target with a body of fifteen links.",
    "walker-run": "Run on two legs.",
    "walker-stand": "Stand on two legs.",
    "walker-walk": "Walk on two legs.",
}
OGBENCH = {
    "antmaze": "Walk the ant through the {size} maze to goal {task}.",
    "antsoccer": "Push the ball with the ant to goal {task} of the {size}.",
    "cube-double": "Bring two cubes into arrangement {task}.",
    "cube-octuple": "Bring eight cubes into arrangement {task}.",
    "cube-quadruple": "Bring four cubes into arrangement {task}.",
    "cube-single": "Bring the cube into arrangement {task}.",
    "cube-triple": "Bring three cubes into arrangement {task}.",
    "humanoidmaze": "Walk the humanoid through the {size} maze to goal {task}.",
    "pointmaze": "Move the point through the {size} maze to goal {task}.",
    "puzzle": "Press the buttons, each of which also switches its neighbours, until the {size} lights show pattern {task}.",
    "scene": "Work drawer, window, buttons and cube into arrangement {task}.",
}

CONTROL = ("acrobot", "ball_in_cup", "cartpole", "lqr", "pendulum", "point_mass")
WALKERS = ("cheetah", "dog", "fish", "hopper", "humanoid", "quadruped", "swimmer", "walker")
# Pixels need a renderer, the rodent and the CMU humanoid's arenas render, too; quadrupeds call what NumPy 2.4 has no more; five bricks do not
# follow from the seed.
NOT_HERE = r"dm_control/(compatibility|CmuHumanoid|Rodent|quadruped|reassemble_5|.*_vision)"


def metaworld() -> Iterator[dict[str, Any]]:
    """Meta-World's fifty tasks, each with the scripted policy that the library ships."""
    from metaworld.policies import ENV_POLICY_MAP

    yield {
        "domain": "robotics",
        "env_id": "ldm_hf/MetaWorld-v0",
        "reference": "metaworld",
        "rows": [
            {"name": f"metaworld-{task}", "kwargs": {"task": task}, "task": METAWORLD[task.removesuffix("-v3")]}
            for task in sorted(ENV_POLICY_MAP)
        ],
    }


def gymnasium_robotics() -> Iterator[dict[str, Any]]:
    """Gymnasium-Robotics' goals, mazes, hands and kitchen, in the versions that need no old MuJoCo."""
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


def dm_control() -> Iterator[dict[str, Any]]:
    """The DeepMind Control Suite and its manipulation tasks (Tassa et al. 2018) by features, through Shimmy."""
    ids = [name for name in registered("dm-control", "dm_control/") if not re.match(NOT_HERE, name)]
    for domain in ("control", "locomotion", "robotics"):

        def domain_of(name: str) -> str:
            body = name.removeprefix("dm_control/")
            return "control" if body.startswith(CONTROL) else "locomotion" if body.startswith(WALKERS) else "robotics"

        def task(name: str) -> str:
            text = by_prefix(CONTROL_SUITE, name.removeprefix("dm_control/"))
            return f"{text[:-1]} (rewarded only when there)." if "sparse" in name else text

        chosen = [name for name in ids if domain_of(name) == domain]
        rows = rows_of(chosen, task, lambda name: f"dm-{name.removeprefix('dm_control/')}")
        yield {
            "domain": domain,
            "max_episode_steps": 1000,
            "rows": [row | {"wrappers": ["unit_actions"]} if "/lqr" in row["env_id"] else row for row in rows],
        }


def ogbench() -> Iterator[dict[str, Any]]:
    """OGBench (Park et al. 2025): the five goals of each scene that see the state; humanoids in the maze with teleporters fail to be made."""
    pattern = f"({'|'.join(OGBENCH)})-.*singletask-task|scene-singletask-task"
    ids = [name for name in registered("ogbench", pattern) if not name.startswith("humanoidmaze-teleport")]

    def task(name: str) -> str:
        scene, goal = name.removesuffix("-v0").split("-singletask-task")
        size = {"teleport": "teleporting"}.get(scene.split("-")[-1], scene.split("-")[-1])
        return by_prefix(OGBENCH, name).format(size=size, task=goal)

    for domain, mazes in (("robotics", False), ("locomotion", True)):
        chosen = [name for name in ids if name.startswith(("ant", "humanoid", "point")) == mazes]
        yield {
            "domain": domain,
            "wrappers": ["global_random_state"],
            "rows": rows_of(chosen, task, lambda name: f"ogbench-{name.replace('singletask-', '')}"),
        }


GENERATORS = {
    "metaworld": metaworld,
    "gymnasium-robotics": gymnasium_robotics,
    "dm-control": dm_control,
    "ogbench": ogbench,
}
