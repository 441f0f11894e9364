"""Searches and scripts for problems in RDDL (Sanner 2010)."""

from __future__ import annotations

import functools
import itertools

import gymnasium
import numpy as np

from ldm_hf.libraries.pyrddlgym.policies import _Solver
from ldm_hf.libraries.pyrddlgym.policies_rules import constants, setting
from ldm_hf.references.base import inside
from ldm_hf.references.search import Cell
from ldm_hf.spaces import Action, Info, Observation

Shape = tuple[Cell, ...]
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # left, up, right, down


class Sokoban(_Solver):
    """Pushes the boxes as the best of all ways does that there are in the steps left."""

    name = "rddl_sokoban"
    problem = "Sokoban_arcade"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents, simulator = constants(env), inside(env).simulator
        walls, stores = (frozenset(_cells(fluents[name])) for name in ("WALL", "STORAGE"))
        bonus, completion = float(fluents["BONUS-STORED"]), float(fluents["COMPLETION"])

        @functools.cache
        def best(man: Cell, boxes: frozenset[Cell], left: int) -> tuple[float, int]:
            """The reward that can still be had (steps cost the same on any way), and the move that leads to it."""
            if left == 0:
                return 0.0, len(MOVES)
            if boxes <= stores:
                return completion * left, len(MOVES)
            options = []
            for move, (right, up) in enumerate(MOVES):
                ahead, beyond = (man[0] + right, man[1] + up), (man[0] + 2 * right, man[1] + 2 * up)
                if ahead in walls or (ahead in boxes and beyond in walls | boxes):
                    continue
                after = boxes - {ahead} | {beyond} if ahead in boxes else boxes
                gain = bonus * (len(after & stores) - len(boxes & stores))
                options.append((gain + best(ahead, after, left - 1)[0], -move))
            value, move = max(options, default=(0.0, -len(MOVES)))
            return value, -move

        (man,) = _cells(observation["man"])
        boxes = frozenset(_cells(observation["box"]))
        return setting(env, move=best(man, boxes, simulator.horizon - simulator.timestep)[1])


def _cells(grid: np.ndarray) -> list[Cell]:
    return [(int(i), int(j)) for i, j in np.argwhere(grid)]


class Tetris(_Solver):
    """Drops the piece where it clears most, now or with the next piece, and leaves the tidiest board."""

    name = "rddl_tetris"
    problem = "Tetris_arcade"

    def __init__(self, env: gymnasium.Env) -> None:
        self.known: dict[bytes, float] = {}  # what boards are worth; the same ones come again and again

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents, board = constants(env), observation["filled"].astype(bool)
        shapes = np.asarray(fluents["SHAPES"], bool)
        scores = [0.0, *(float(fluents[f"CLEARED-{rows}"]) for rows in range(1, 5))]
        piece = int(observation["current-shape-type"].argmax())
        chances = np.asarray(fluents["PROB-SHAPE"]) / np.sum(fluents["PROB-SHAPE"])

        def options(board: np.ndarray, piece: int) -> list[tuple[float, np.ndarray, int, int]]:
            """Reward, board, rotation and column of every drop that does not end the game."""
            found = []
            for rotation, column in itertools.product(range(shapes.shape[1]), range(len(board))):
                if (dropped := drop(board, shapes[piece, rotation], column)) is not None:
                    rows = dropped.all(0)
                    after = np.concatenate([dropped[:, ~rows], np.zeros((len(board), rows.sum()), bool)], 1)
                    if not after[:, -1].any():
                        found.append((scores[rows.sum()], after, rotation, column))
            return found

        def ahead(board: np.ndarray) -> float:
            key = board.tobytes()
            if key not in self.known:
                self.known[key] = sum(
                    float(chance)
                    * max((reward + tidiness(after) for reward, after, *_ in options(board, other)), default=-1e3)
                    for other, chance in enumerate(chances)
                )
            return self.known[key]

        _, _, rotation, column = max(
            options(board, piece), key=lambda option: option[0] + ahead(option[1]), default=(0, board, 0, 0)
        )
        return setting(env, rotate=rotation, place=np.eye(len(board))[column])


def drop(board: np.ndarray, shape: np.ndarray, column: int) -> np.ndarray | None:
    """The board ``(columns, rows)`` with a piece in the lowest row where it fits; None if it fits nowhere.

    What stands out of the board is cut off, as in the problem.
    """
    columns, rows = board.shape
    cells = np.argwhere(shape)
    for row in range(rows):
        inside_it = [(i + column, j + row) for i, j in cells if i + column < columns and j + row < rows]
        if not any(board[cell] for cell in inside_it):
            after = board.copy()
            for cell in inside_it:
                after[cell] = True
            return after
    return None


def tidiness(board: np.ndarray) -> float:
    """How little a board ``(columns, rows)`` is in the way: low columns of one height, without holes."""
    heights = np.where(board.any(1), board.shape[1] - board[:, ::-1].argmax(1), 0)
    holes = heights.sum() - board.sum()
    return -float(10 * holes + 3 * heights.sum() + 2 * np.abs(np.diff(heights)).sum() + (heights.max() ** 2))


class Recon(_Solver):
    """Tests objects for water, then for life, and photographs one with life again and again.

    Broken tools are repaired first.
    """

    name = "rddl_recon"
    method = "scripted"
    problem = "CooperativeRecon_MDP_ippc2011"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents, seen = constants(env), observation
        water, life, camera = (int(np.argmax(fluents[f"{kind}_TOOL"])) for kind in ("WATER", "LIFE", "CAMERA"))
        (here,) = _cells(seen["agentAt"][0])
        base = _cells(fluents["BASE"])[0]
        places = {int(thing): (int(x), int(y)) for thing, x, y in np.argwhere(fluents["objAt"])}
        if here == base and seen["damaged"].any():
            return setting(env, repair=np.eye(len(seen["damaged"]))[seen["damaged"].argmax()])
        wanted = [
            (places[thing], tool, thing)
            for thing in places
            for tool, useful in (
                (camera, seen["lifeDetected"][thing]),
                (life, seen["waterDetected"][thing] and not seen["lifeDetected"][thing] | seen["lifeChecked2"][thing]),
                (water, not seen["waterChecked"][thing]),
            )
            if useful
        ]
        if not wanted:
            return setting(env)
        place, tool, thing = min(
            wanted,
            key=lambda job: (
                job[1] != camera,
                abs(job[0][0] - here[0]) + abs(job[0][1] - here[1]) - (job[1] == life),
            ),
        )
        if seen["damaged"][tool]:
            place = base
        if place != here:
            axis = 0 if place[0] != here[0] else 1
            names = (("LEFT", "left"), ("RIGHT", "right")) if axis == 0 else (("UP", "up"), ("DOWN", "down"))
            towards = here[axis] + int(np.sign(place[axis] - here[axis]))
            for table, name in names:
                if fluents[f"ADJACENT-{table}"][here[axis], towards]:
                    return setting(env, **{name: 1})
        if tool == camera and seen["pictureTaken"][thing]:
            return setting(env)  # a picture counts if the step before took none
        use = np.zeros((1, len(seen["damaged"]), len(places)))
        use[0, tool, thing] = 1
        return setting(env, useToolOn=use)


class BoxTrucks(_Solver):
    """Loads each box into the truck of its city, drives it to where it belongs, and unloads it there."""

    name = "rddl_logistics"
    method = "scripted"
    problem = "Logistics_rddlsim"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        fluents, world = constants(env), inside(env)
        targets = np.asarray(fluents["DESTINATION"]).argmax(1)
        docked = observation["atDepot"].sum(0)
        carried = observation["boxInTruck"]  # by box and truck
        jobs: dict[str, np.ndarray] = {name: np.zeros(shape, int) for name, _, shape in world._parts}
        spent, taken = 0, set()
        for truck, city in enumerate(observation["truckAt"].argmax(1).tolist()):
            in_depot = bool(observation["atDepot"][truck, city])
            boxes = np.flatnonzero(carried[:, truck])
            waiting = [
                box
                for box in np.flatnonzero(observation["boxInCity"][:, city])
                if not carried[box].any() and targets[box] != city and box not in taken
            ]
            if len(boxes) and targets[boxes[0]] != city:
                job = ("undock", city) if in_depot else ("drive", int(targets[boxes[0]]))
            elif len(boxes) or waiting:
                job = ("unload", int(boxes[0])) if len(boxes) else ("load", int(waiting[0]))
                if not in_depot:
                    job = ("doDockAt", city)
            elif in_depot:
                job = ("undock", city)
            else:
                continue
            if spent == world.allowed or (job[0] == "doDockAt" and docked[city] >= fluents["MAX-DOCKED"][city]):
                continue
            docked[city] += job[0] == "doDockAt"
            taken.update(waiting[:1])
            jobs[job[0]][truck, job[1]] = 1
            spent += 1
        return setting(env, **jobs)
