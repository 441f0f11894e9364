"""A driver for pgtg's tracks, who goes slowly and keeps away from cells that another car may enter."""

from __future__ import annotations

import heapq
import math
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

Cell = tuple[int, int]

STEPS = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
MOVES = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]  # accelerations in the order of the actions
OBSTACLE = 3.0  # cells of detour that ice, sand or a broken road are worth
NOW, SOON = 30.0, 6.0  # the same, of a cell that a car may enter in this step, and in the next one
FAST = 40.0  # and of each cell a step beyond one
IDLE = 60.0  # and of the penalty for standing still


class TrackDriver(Reference):
    """Drives along the shortest way to the goal, a cell a step, and waits or makes way for cars.

    Where a car may be in one and two steps is read off the lanes. Speeds that others have brought about are reduced.
    """

    name = "track_driver"
    method = "planner"
    worlds = ("PGTGEnv",)

    def reset(self, env: gymnasium.Env) -> None:
        self._distances = self._to_goal(inside(env))

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        game = inside(env)
        now = {cell for car in game.cars for cell in self._reach(game, tuple(car.position))}
        soon = {cell for near in now if self._is_near(game, near) for cell in self._reach(game, near)}
        costs = [self._cost(game, np.add(game.velocity, move), now, soon) for move in MOVES]
        if not game.velocity.any():
            costs[MOVES.index((0, 0))] += IDLE * game.reward_context.standing_still_penalty
        return np.int64(np.argmin(costs))

    def _cost(self, game: Any, velocity: np.ndarray, now: set[Cell], soon: set[Cell]) -> float:
        """Steps to the goal after a step with this velocity, and what it risks."""
        place, risk = game.position, 0.0
        for step in game._decompose_velocity(velocity):
            place = place + step
            cell = (int(place[0]), int(place[1]))
            if cell not in self._distances:
                return math.inf
            risk += NOW * (cell in now)
        end = (int(place[0]), int(place[1]))
        speed = int(np.abs(velocity).max())
        risk += NOW * (end in now) + SOON * (end in soon) + FAST * max(speed - 1, 0)
        return self._distances[end] + risk + 0.5 * (speed == 0)  # rather than going round in circles

    @staticmethod
    def _is_near(game: Any, cell: Cell) -> bool:
        return bool(np.abs(np.subtract(cell, game.position)).max() < 4)

    @staticmethod
    def _reach(game: Any, cell: Cell) -> list[Cell]:
        """Cells in which a car may be after a step, its own one included."""
        return [cell, *(tuple(way[0]) for way in game.map.car_transitions.get(cell, ()))]

    @staticmethod
    def _to_goal(game: Any) -> dict[Cell, float]:
        """Distance to the goal of every cell from which there is a way (Dijkstra's algorithm)."""
        from pgtg.features.registry import MapFeature
        from pgtg.obstacles.builtin import BROKEN_ROAD, ICE, SAND

        rough = int(BROKEN_ROAD) | int(ICE) | int(SAND)
        distances: dict[Cell, float] = {}
        queue = [(0.0, (int(x), int(y))) for x, y in game.map.goals]
        while queue:
            distance, cell = heapq.heappop(queue)
            if cell in distances or not game.map.inside_map(*cell) or game.map.feature_at(*cell, MapFeature.WALL):
                continue
            distances[cell] = distance
            dear = 1.0 + OBSTACLE * bool(game.map.feature_at(*cell, rough))
            for dx, dy in STEPS:
                heapq.heappush(queue, (distance + dear, (cell[0] + dx, cell[1] + dy)))
        return distances
