"""A planner for the locked rooms of MiniGrid (Chevalier-Boisvert et al. 2023), too large to search step by step."""

from __future__ import annotations

import heapq
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.libraries.minigrid.policies import DROP, PICKUP, TOGGLE
from ldm_hf.references.base import Reference, inside
from ldm_hf.references.search import AHEAD, FORWARD, LEFT, RIGHT, Cell, turn_or_go
from ldm_hf.spaces import Action, Info, Observation

Job = tuple[int, Cell]
"""What to do (an action of the world), and the cell to do it to."""
WALK = 2
COSTS = {"door": 2, "locked": 60, "thing": 15}  # steps that each costs on a way, roughly
TURNS = {LEFT: 0, RIGHT: 1, FORWARD: WALK}
IN_THE_WAY = ("key", "ball", "box")


class RoomOpener(Reference):
    """Goes to the goal, fetches the key of each locked door in between, and carries away what stands in the way.

    It sees the world as a whole, and plans anew at each step.
    """

    name = "room_opener"
    method = "planner"
    worlds = (
        "BlockedUnlockPickupEnv",
        "KeyCorridorEnv",
        "KeyInBox",
        "LockedRoomEnv",
        "MultiRoomEnv",
        "ObstructedMazeEnv",
        "UnlockToUnlock",
    )

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        rooms = _Rooms(inside(env))
        action, place = rooms.possible(rooms.goal())
        if action == PICKUP and rooms.held is not None:
            return np.int64(rooms.approach(DROP, rooms.spots()))
        return np.int64(rooms.approach(action, {place}))


class _Rooms:
    """A world, its cells and what is in them."""

    def __init__(self, world: Any) -> None:
        self.world, self.held = world, world.carrying
        self.here = int(world.agent_pos[0]), int(world.agent_pos[1])
        grid = world.grid
        self.cells = {(i, j): grid.get(i, j) for i in range(grid.width) for j in range(grid.height)}
        self.blocked = np.array(
            [[not self._is_free(self.cells[i, j]) for i in range(grid.width)] for j in range(grid.height)]
        )

    @staticmethod
    def _is_free(cell: Any) -> bool:
        return cell is None or (cell.can_overlap() and cell.type != "lava")

    def goal(self) -> Job:
        """What the mission ends with: take the object, walk to the goal, or open the only door."""
        wanted = [getattr(self.world, "obj", None)]
        instructions: Any = getattr(self.world, "instrs", None)  # of BabyAI
        if type(instructions).__name__ == "PickupInstr":
            wanted += instructions.desc.obj_set
        for place, cell in self.cells.items():
            if cell is not None and any(cell is thing for thing in wanted):
                return PICKUP, place
        kinds = {cell.type: place for place, cell in self.cells.items() if cell is not None}
        return (WALK, kinds["goal"]) if "goal" in kinds else (TOGGLE, kinds["door"])

    def possible(self, job: Job) -> Job:
        """The first job on the way to another one: open, fetch, carry away; the job itself if nothing is before it."""
        for _ in self.cells:  # no end only where a key lies behind its own door
            between = next((cell for cell in self.way(job[1])[1:-1] if self.blocked[cell[1], cell[0]]), None)
            thing = self.cells[job[1]]
            if between is not None:
                opened = self.cells[between].type == "door" or getattr(self.cells[between], "contains", None)
                job = (TOGGLE if opened else PICKUP), between
            elif thing is not None and thing.type == "door" and self._is_locked(thing):
                job = self.key_of(thing)
            else:
                break
        return job

    def way(self, goal: Cell) -> list[Cell]:
        """The cells of the cheapest way to a cell, which may lead through doors and things."""
        came_from: dict[Cell, Cell] = {}
        costs, frontier = {self.here: 0}, [(0, self.here)]
        while frontier:
            cost, cell = heapq.heappop(frontier)
            if cell == goal:
                break
            for right, down in AHEAD:
                following = cell[0] + right, cell[1] + down
                if (step := self._cost(following)) and cost + step < costs.get(following, 10**9):
                    costs[following] = cost + step
                    came_from[following] = cell
                    heapq.heappush(frontier, (cost + step, following))
        way = [goal]
        while way[-1] in came_from and way[-1] != self.here:
            way.append(came_from[way[-1]])
        return way[::-1]

    def _cost(self, place: Cell) -> int:
        """What a step to a cell costs on a way; 0 where there is none."""
        if place not in self.cells:
            return 0
        thing = self.cells[place]
        if not self.blocked[place[1], place[0]]:
            return 1
        if thing.type == "door":
            return COSTS["locked" if self._is_locked(thing) else "door"]
        return COSTS["thing"] if thing.type in IN_THE_WAY else 0

    def _is_locked(self, door: Any) -> bool:
        """Whether a door is locked, and its key not at hand."""
        held = self.held is not None and self.held.type == "key" and self.held.color == door.color
        return bool(door.is_locked and not held)

    def key_of(self, door: Any) -> Job:
        """Takes the key of a door, or opens the box that it lies in, for which a box in the hand is put down."""
        for place, thing in self.cells.items():
            for action, key in ((PICKUP, thing), (TOGGLE, getattr(thing, "contains", None))):
                if key is not None and key.type == "key" and key.color == door.color:
                    return action, place
        return PICKUP, self.here

    def spots(self) -> set[Cell]:
        """Empty cells where a thing can be dropped: not beside a door."""
        doors = {place for place, thing in self.cells.items() if thing is not None and thing.type == "door"}
        return {
            (x, y)
            for (x, y), thing in self.cells.items()
            if thing is None and not any((x + right, y + down) in doors for right, down in AHEAD)
        } - {self.here}

    def approach(self, action: int, places: set[Cell]) -> int:
        """The next action of the shortest way to face one of the places and act there."""
        front = tuple(int(part) for part in self.world.front_pos)
        if front in places:
            return action
        blocked = self.blocked.copy()
        for x, y in places:
            blocked[y, x] = False
        facing = (int(self.world.agent_dir) + 1) % 4
        return TURNS[turn_or_go(blocked, self.here, facing, places) or LEFT]
