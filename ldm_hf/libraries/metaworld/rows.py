"""Rows of Meta-World (Yu et al. 2019, McLean et al. 2025)."""

from __future__ import annotations

from collections.abc import Iterator

from ldm_hf.environments.library_folders import Group

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


def groups() -> Iterator[Group]:
    """The fifty tasks, each with the scripted policy that the library ships."""
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
