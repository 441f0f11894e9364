"""Rows of the DeepMind Control Suite and its manipulation tasks (Tassa et al. 2018)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ldm_hf.environments.generating import by_prefix, registered, rows_of
from ldm_hf.environments.library_folders import Group

# task texts by the beginning of the name
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
# bodies by domain of the catalogue; the others are robotics
CONTROL = ("acrobot", "ball_in_cup", "cartpole", "lqr", "pendulum", "point_mass")
WALKERS = ("cheetah", "dog", "fish", "hopper", "humanoid", "quadruped", "swimmer", "walker")
# Left out: pixels need a renderer, and so do the arenas of the rodent and the CMU humanoid; quadrupeds call what NumPy
# has removed in 2.4; five bricks do not follow from the seed.
NOT_HERE = r"dm_control/(compatibility|CmuHumanoid|Rodent|quadruped|reassemble_5|.*_vision)"


def groups() -> Iterator[Group]:
    """All tasks whose observations are features of the state, through Shimmy."""
    ids = [name for name in registered("dm-control", "dm_control/") if not re.match(NOT_HERE, name)]

    def domain_of(name: str) -> str:
        body = name.removeprefix("dm_control/")
        return "control" if body.startswith(CONTROL) else "locomotion" if body.startswith(WALKERS) else "robotics"

    def task(name: str) -> str:
        text = by_prefix(CONTROL_SUITE, name.removeprefix("dm_control/"))
        return f"{text[:-1]} (rewarded only when there)." if "sparse" in name else text

    for domain in ("control", "locomotion", "robotics"):
        chosen = [name for name in ids if domain_of(name) == domain]
        rows = rows_of(chosen, task, lambda name: f"dm-{name.removeprefix('dm_control/')}")
        yield {
            "domain": domain,
            "max_episode_steps": 1000,
            "rows": [row | {"wrappers": ["unit_actions"]} if "/lqr" in row["env_id"] else row for row in rows],
        }
