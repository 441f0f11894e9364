"""Policies for OGBench (Park et al. 2025): an arm that arranges cubes, an arm that presses buttons, a point in a maze.

The library's oracles move one cube, or press one button, that its data collection names; which one comes next is
decided here.
"""

from __future__ import annotations

import itertools

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.search import cell_towards, steps_to
from ldm_hf.spaces import Action, Info, Observation

CUBE = 0.04  # length of an edge in metres
NEAR = 0.03  # metres; a cube this close to its target need not be moved (0.04 counts as success)
LONGEST_MOVE = 120  # steps; then something else is tried


class CubeArranger(Reference):
    """Puts one cube after the other in its place, those below first.

    Cubes on top of others, or where others belong, are put out of the way before.
    """

    name = "cube_arranger"
    method = "scripted"
    worlds = ("CubeEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle

        self.oracle = CubeMarkovOracle(env=env)
        low, high = inside(env)._target_sampling_bounds
        spots = itertools.product(np.linspace(low[0], high[0], 6), np.linspace(low[1], high[1], 13), [CUBE / 2])
        self.spots = np.array(list(spots))
        self.rest = np.array([*(low + high) / 2, 0.3])

    def reset(self, env: gymnasium.Env) -> None:
        self.cube: int | None = None
        self.target = np.zeros(3)
        self.steps = 0
        # where the arm goes afterwards; the oracle's own reset draws it from NumPy's global generator
        self.oracle._final_pos, self.oracle._final_yaw, self.oracle._step = self.rest, 0.0, 0

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        targets = world._data.mocap_pos[world._cube_target_mocap_ids]
        places = np.array([info[f"privileged/block_{i}_pos"] for i in range(len(targets))])
        self.steps += 1
        if self.cube is None or self.steps > LONGEST_MOVE or self._is_done(places, info):
            self.cube, self.target, self.steps = (*next_cube(places, targets, self.spots), 0)
        told = {
            "privileged/target_block": self.cube,
            "privileged/target_block_pos": self.target,
            "privileged/target_block_yaw": np.zeros(1),
        }
        return self.oracle.select_action(observation, info | told).astype(np.float32)

    def _is_done(self, places: np.ndarray, info: Info) -> bool:
        """Whether the cube lies where it should, and the arm has let go of it and is above all others."""
        free = info["proprio/gripper_contact"] < 0.1 and info["proprio/effector_pos"][2] > 4 * CUBE
        return bool(free and np.linalg.norm(places[self.cube] - self.target) < NEAR)


def next_cube(places: np.ndarray, targets: np.ndarray, spots: np.ndarray) -> tuple[int, np.ndarray]:
    """Chooses the cube to move next, and where to.

    Args:
        places: ``(cubes, 3)``, where the cubes are, in metres.
        targets: ``(cubes, 3)``, where they belong.
        spots: ``(n, 3)``, where a cube can be put that is in the way.

    Returns:
        Number of the cube, and the place it should go to.
    """
    placed = np.linalg.norm(places - targets, axis=1) < NEAR
    missing = sorted(np.flatnonzero(~placed).tolist(), key=lambda i: targets[i, 2])
    clear = [not _above(places, place, i).any() for i, place in enumerate(places)]
    for i in missing:
        blocked = _above(places, targets[i] - [0, 0, CUBE], i).any()
        below = np.linalg.norm(places[placed] - targets[i] + [0, 0, CUBE], axis=1) < NEAR
        carried = targets[i, 2] < CUBE or below.any()
        if clear[i] and carried and not blocked:
            return i, targets[i]
    for i in missing:  # each waits for another: what lies on it, or where it belongs, is put aside
        in_the_way = _above(places, places[i], i) | _above(places, targets[i] - [0, 0, CUBE], i)
        for j in np.flatnonzero(in_the_way).tolist():
            if clear[j]:
                taken = np.concatenate([places[:, :2], targets[:, :2]])
                distances = np.linalg.norm(spots[:, None, :2] - taken, axis=-1).min(1)
                return j, spots[distances.argmax()]
    return (missing[0], targets[missing[0]]) if missing else (0, targets[0])


def _above(places: np.ndarray, place: np.ndarray, but: int) -> np.ndarray:
    """Whether a cube lies above a place, ``(cubes,)``; False for cube ``but``."""
    found: np.ndarray = (np.linalg.norm(places[:, :2] - place[:2], axis=1) < CUBE) & (
        places[:, 2] > place[2] + CUBE / 2
    )
    found[but] = False
    return found


class LightsOut(Reference):
    """Presses the fewest buttons that set the lights as the task asks.

    They solve linear equations modulo 2 (Anderson & Feil 1998).
    """

    name = "lights_out"
    method = "scripted"
    worlds = ("PuzzleEnv",)

    def __init__(self, env: gymnasium.Env) -> None:
        from ogbench.manipspace.oracles.markov.button_markov import ButtonMarkovOracle

        world = inside(env)
        self.oracle = ButtonMarkovOracle(env=env, gripper_always_closed=True)
        self.effects = effects_of_buttons(world._num_rows, world._num_cols)
        self.idle = null_space(self.effects)

    def reset(self, env: gymnasium.Env) -> None:
        self.button: int | None = None
        self.wanted = 0
        self.steps = 0
        self.oracle._final_pos, self.oracle._final_yaw, self.oracle._step = np.array([0.425, 0.0, 0.3]), 0.0, 0

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        world = inside(env)
        states, arm = world._cur_button_states, info["proprio/effector_pos"]
        tops = world._data.site_xpos[world._button_site_ids]
        self.steps += 1
        # a button is done when the arm has let go of it
        button = self.button
        pressed = button is not None and states[button] == self.wanted and arm[2] > tops[button, 2] + CUBE
        if button is None or pressed or self.steps > LONGEST_MOVE:
            changes = (world._target_button_states - states) % 2
            presses = np.flatnonzero(fewest_presses(self.effects, changes, self.idle))
            distances = np.linalg.norm(tops - arm, axis=1)
            self.button = int(min(presses, key=lambda i: distances[i], default=0))
            self.wanted, self.steps = int(states[self.button]) ^ int(len(presses) > 0), 0
        told = {
            "privileged/target_button": self.button,
            "privileged/target_button_state": self.wanted,
            "privileged/target_button_top_pos": tops[self.button],
        }
        return self.oracle.select_action(observation, info | told).astype(np.float32)


def effects_of_buttons(rows: int, columns: int) -> np.ndarray:
    """Which lights a button switches, ``(lights, buttons)``: its own and those beside it."""
    places = np.array(list(itertools.product(range(rows), range(columns))))
    effects: np.ndarray = np.abs(places[:, None] - places).sum(-1) <= 1
    return effects.astype(np.uint8)


def _reduced(matrix: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The reduced row echelon form modulo 2, and the columns of its pivots."""
    matrix = matrix.copy()
    pivots: list[int] = []
    for column in range(matrix.shape[1]):
        rows = len(pivots) + np.flatnonzero(matrix[len(pivots) :, column])
        if len(rows):
            row = len(pivots)
            matrix[[row, rows[0]]] = matrix[[rows[0], row]]
            others = np.flatnonzero(matrix[:, column])
            matrix[others[others != row]] ^= matrix[row]
            pivots.append(column)
    return matrix, pivots


def null_space(matrix: np.ndarray) -> np.ndarray:
    """All vectors that the matrix maps to zero modulo 2, ``(2^k, columns)``."""
    reduced, pivots = _reduced(matrix)
    free = [column for column in range(matrix.shape[1]) if column not in pivots]
    basis = np.zeros((len(free), matrix.shape[1]), np.uint8)
    for vector, column in zip(basis, free, strict=True):
        vector[column] = 1
        vector[pivots] = reduced[: len(pivots), column]
    mixes = np.array(list(itertools.product((0, 1), repeat=len(free))), np.uint8).reshape(2 ** len(free), len(free))
    return mixes @ basis % 2


def fewest_presses(matrix: np.ndarray, wanted: np.ndarray, idle: np.ndarray) -> np.ndarray:
    """Solves ``matrix x = wanted`` modulo 2 with the fewest ones.

    Args:
        matrix: ``(rows, columns)`` of 0 and 1.
        wanted: ``(rows,)`` of 0 and 1; equations that cannot hold together with the others are left out.
        idle: null space of the matrix, see `null_space`.

    Returns:
        ``(columns,)`` of 0 and 1.
    """
    reduced, pivots = _reduced(np.column_stack([matrix, wanted.astype(np.uint8)]))
    solution = np.zeros(matrix.shape[1], np.uint8)
    for row, column in enumerate(pivots):
        if column < matrix.shape[1]:
            solution[column] = reduced[row, -1]
    candidates = solution ^ idle
    best: np.ndarray = candidates[candidates.sum(1).argmin()]
    return best


class PointRunner(Reference):
    """Moves the point along the shortest way over cells.

    It goes round the teleporters, since one of their ends is a trap.
    """

    name = "point_runner"
    method = "planner"
    reach = 0.2  # metres per step

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return {"MazeEnv", "PointEnv"} <= {base.__name__ for base in type(env.unwrapped).__mro__}

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        maze = inside(env)
        place, goal = maze.get_xy(), maze.cur_goal_xy
        walls = maze.maze_map.copy()
        for cell in (maze._teleport_info or {}).get("teleport_in_ijs", ()):
            walls[cell] = 1
        here, there = maze.xy_to_ij(place), maze.xy_to_ij(goal)
        following = cell_towards(steps_to(walls, there), here, there)
        target = goal if here == there else np.array(maze.ij_to_xy(following))
        return np.clip((target - place) / self.reach, -1, 1).astype(np.float32)
