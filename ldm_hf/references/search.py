"""Searches on grids that policies of several libraries share."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

NONE, FORWARD, LEFT, RIGHT = range(4)  # actions of `turn_or_go`
Cell = tuple[int, int]
AHEAD = ((0, -1), (1, 0), (0, 1), (-1, 0))  # up, right, down, left


def cell_towards(distances: dict[Cell, int], here: Cell, there: Cell) -> Cell:
    """The cell beside ``here`` that is nearest to the goal; the goal ``there`` itself if no such cell is known."""
    beside = [(here[0] + i, here[1] + j) for i, j in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    return min((cell for cell in beside if cell in distances), key=lambda cell: distances[cell], default=there)


def steps_to(walls: np.ndarray | Sequence[Sequence[object]], goal: Cell) -> dict[Cell, int]:
    """Steps to the goal from every cell that is not a wall (1)."""
    found, frontier = {goal: 0}, deque([goal])
    while frontier:
        i, j = frontier.popleft()
        for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            inside = 0 <= cell[0] < len(walls) and 0 <= cell[1] < len(walls[0])
            if inside and walls[cell[0]][cell[1]] != 1 and cell not in found:
                found[cell] = found[i, j] + 1
                frontier.append(cell)
    return found


def turn_or_go(blocked: np.ndarray, start: Cell, direction: int, goals: set[Cell]) -> int | None:
    """The first action of the shortest way to a goal, turns included: none, forward, left or right.

    Args:
        blocked: cells that cannot be entered, ``(rows, columns)`` bool.
        start: column and row of the start.
        direction: direction faced at the start, an index into `AHEAD`.
        goals: column and row of each goal.

    Returns:
        The action; None if there is no way.
    """
    frontier = deque([(start, direction)])
    first: dict[tuple[Cell, int], int] = {(start, direction): NONE}
    while frontier:
        state = frontier.popleft()
        (x, y), facing = state
        if (x, y) in goals:
            return first[state]
        right, down = AHEAD[facing]
        ahead = x + right, y + down
        inside = 0 <= ahead[1] < blocked.shape[0] and 0 <= ahead[0] < blocked.shape[1]
        following = [(LEFT, ((x, y), (facing - 1) % 4)), (RIGHT, ((x, y), (facing + 1) % 4))]
        if inside and not blocked[ahead[1], ahead[0]]:
            following.insert(0, (FORWARD, (ahead, facing)))
        for action, after in following:
            if after not in first:
                first[after] = first[state] or action
                frontier.append(after)
    return None
