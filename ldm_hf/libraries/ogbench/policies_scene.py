"""An arm that works a drawer, a window, two buttons and a cube in OGBench (Park et al. 2025).

The library's oracles do one thing each, which its data collection names; which one comes next is decided here.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.libraries.ogbench.policies import CUBE, NEAR
from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

Job = tuple[str, float | int | None]
"""Thing to move, and what it should be: metres of a slide, or the number of a button."""
OPEN = -0.16  # metres of the drawer
WIDE = -0.12  # metres; so far open, a cube can be laid into it
SLACK = 0.02  # metres between a slide and where it should be
SLIDES = {"drawer": np.array([0, -1, 0]), "window": np.array([1, 0, 0])}  # directions
LONGEST, RETREAT = 80, 15  # steps of a job, of which the last ones of one that failed lead away from the thing
BEHIND = np.array([0.1, 0.1, 0.16])  # metres from a handle, against the direction it is moved in, and above it
CLEAR = {"cube": 4 * CUBE, "drawer": 0.18, "window": 0.28, "button": 0.18}  # metres above the table, after a job


class SceneWorker(Reference):
    """Brings the cube, then drawer and window, then the buttons into place.

    The buttons lock drawer and window, and are pressed before where that is in the way.
    """

    name = "scene_worker"
    method = "scripted"
    worlds = ("SceneEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from ogbench.manipspace.oracles.markov.button_markov import ButtonMarkovOracle
        from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle
        from ogbench.manipspace.oracles.markov.drawer_markov import DrawerMarkovOracle
        from ogbench.manipspace.oracles.markov.window_markov import WindowMarkovOracle

        self.oracles = {
            "cube": CubeMarkovOracle(env=env),
            "drawer": DrawerMarkovOracle(env=env),
            "window": WindowMarkovOracle(env=env),
            "button": ButtonMarkovOracle(env=env, gripper_always_closed=True),
        }

    def reset(self, env: gymnasium.Env) -> None:
        self.job: Job | None = None
        self.steps = 0
        for oracle in self.oracles.values():  # where the arm goes afterwards, which they would draw at random
            oracle._final_pos, oracle._final_yaw, oracle._step = np.array([0.425, 0.0, 0.35]), 0.0, 0

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        self.steps += 1
        if self.job is None or self.steps > LONGEST or self._is_done(world, info, *self.job):
            self.job, self.steps = next_job(world, info), 0
            if self.job[0] == "button" and self.job[1] is not None:
                self.wanted = 1 - int(world._cur_button_states[self.job[1]])
        thing, goal = self.job
        told: Info = {}
        if thing == "button":
            told["privileged/target_button"] = goal
            told["privileged/target_button_state"] = self.wanted
            told["privileged/target_button_top_pos"] = world._data.site_xpos[world._button_site_ids[goal]]
        elif thing == "cube":
            target = world._data.mocap_pos[world._cube_target_mocap_ids[0]]
            told["privileged/target_block"] = 0
            told["privileged/target_block_pos"] = world._drawer_center if _belongs_in_drawer(world) else target
            told["privileged/target_block_yaw"] = np.zeros(1)
        else:
            gap = goal - info[f"privileged/{thing}_pos"][0]
            told[f"privileged/target_{thing}_handle_pos"] = (
                info[f"privileged/{thing}_handle_pos"] + gap * SLIDES[thing]
            )
            if self.steps > LONGEST - RETREAT:  # the arm is on the wrong side of the handle
                start = info[f"privileged/{thing}_handle_pos"] - np.sign(gap) * SLIDES[thing] * BEHIND
                start[2] += BEHIND[2]
                away = np.clip(20 * (start - info["proprio/effector_pos"]), -1, 1)
                return np.array([*away, 0.0, -1.0], np.float32)
        return self.oracles[thing].select_action(observation, info | told).astype(np.float32)

    def _is_done(self, world: Any, info: Info, thing: str, goal: float | int | None) -> bool:
        """Whether a job has succeeded, and the arm is above what it worked on."""
        if info["proprio/effector_pos"][2] < CLEAR[thing]:
            return False
        if thing == "button":
            return bool(world._cur_button_states[goal] == self.wanted)
        if thing == "cube":
            return bool(info["proprio/gripper_contact"] < 0.1) and _cube_is_placed(world, info)
        return bool(abs(info[f"privileged/{thing}_pos"][0] - goal) < SLACK)


def next_job(world: Any, info: Info) -> Job:
    """The job that comes next: the first that is still to be done and possible."""
    locked = [int(state) == 0 for state in world._cur_button_states]
    slides = {"drawer": float(info["privileged/drawer_pos"][0]), "window": float(info["privileged/window_pos"][0])}
    if not _cube_is_placed(world, info):
        if _belongs_in_drawer(world) and slides["drawer"] > WIDE:
            return ("button", 0) if locked[0] else ("drawer", OPEN)
        return "cube", None
    for button, (thing, target) in enumerate(
        (("drawer", world._target_drawer_pos), ("window", world._target_window_pos))
    ):
        if abs(slides[thing] - target) > SLACK:
            return ("button", button) if locked[button] else (thing, float(target))
    wrong = np.flatnonzero(world._cur_button_states != world._target_button_states)
    return ("button", int(wrong[0])) if len(wrong) else ("drawer", slides["drawer"])  # the latter only lifts the arm


def _belongs_in_drawer(world: Any) -> bool:
    return bool(world._data.mocap_pos[world._cube_target_mocap_ids[0]][1] < world._target_sampling_bounds[0][1] - CUBE)


def _cube_is_placed(world: Any, info: Info) -> bool:
    place = info["privileged/block_0_pos"]
    if _belongs_in_drawer(world):
        return bool(world._is_in_drawer(place))
    return bool(np.linalg.norm(place - world._data.mocap_pos[world._cube_target_mocap_ids[0]]) < NEAR)
