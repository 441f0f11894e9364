"""Solvers and rules for the problems of Jumanji (Bonnet et al. 2024)."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.search import AHEAD, Cell, steps_to
from ldm_hf.spaces import Action, Info, Observation

Tiles = tuple[int, ...]
Clue = tuple[frozenset[Cell], int]
"""Covered squares, and how many of them are mines."""

SLACK = 1e-4  # of the knapsack, so that rounding never makes a chosen item too heavy
GREED = 3  # how much more the steps that are missing count than those that were made: a quick way, not the shortest
MOST_CLUES = 400  # of a minefield; more follow from each other, but tell little


class KnapsackSolver(Reference):
    """Packs the best set of items, found by integer programming (HiGHS: Huangfu & Hall 2018)."""

    name = "jumanji_knapsack"
    method = "planner"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        from scipy.optimize import Bounds, LinearConstraint, milp

        capacity = float(inside(env).env._state.remaining_budget) - SLACK
        legal, worth = observation["action_mask"], observation["values"]
        fits = LinearConstraint(observation["weights"][None], ub=capacity)
        found = milp(-worth, integrality=np.ones(len(worth)), bounds=Bounds(0, legal.astype(float)), constraints=fits)
        chosen = legal if found.x is None else (found.x > 0.5) & legal
        return np.int64(np.argmax(chosen if chosen.any() else legal))


class GraphColoring(Reference):
    """Gives each node its color in a coloring with the fewest colors, by branch and bound (DSATUR: Brélaz 1979)."""

    name = "jumanji_coloring"
    method = "planner"

    def reset(self, env: gymnasium.Env) -> None:
        self.plan = np.zeros(0)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        colors, edges = observation["colors"], observation["adj_matrix"]
        if len(self.plan) != len(colors) or (self.plan != colors)[colors >= 0].any():
            allowed = range(int(colors.max()) + 1, len(colors) + 1)
            self.plan = next(found for most in allowed if (found := colored(edges, colors, most)) is not None)
        return np.int64(self.plan[observation["current_node_index"]])


def colored(edges: np.ndarray, colors: np.ndarray, most: int) -> np.ndarray | None:
    """Colors the rest of a graph so that no edge joins two nodes of one color.

    Args:
        edges: ``(nodes, nodes)`` bool.
        colors: ``(nodes,)``, -1 where a node has none yet.
        most: the colors are numbers below this.

    Returns:
        ``(nodes,)``; None if there are too few colors.
    """
    neighbours = {node: set(colors[edges[node] & (colors >= 0)].tolist()) for node in np.flatnonzero(colors < 0)}
    if not neighbours:
        return colors
    node = max(neighbours, key=lambda node: (len(neighbours[node]), edges[node].sum()))
    for color in range(min(most, int(colors.max()) + 2)):  # all colors that nobody has are alike
        if color not in neighbours[node]:
            following = colors.copy()
            following[node] = color
            if (found := colored(edges, following, most)) is not None:
                return found
    return None


class SlidingTiles(Reference):
    """Slides the tiles into order by weighted A* with the Manhattan distance (Pohl 1970)."""

    name = "jumanji_tiles"
    method = "planner"

    def reset(self, env: gymnasium.Env) -> None:
        self.plan: dict[Tiles, int] = {}

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        tiles = tuple(observation["puzzle"].ravel().tolist())
        if tiles not in self.plan:
            self.plan |= sliding_plan(tiles, len(observation["puzzle"]))
        return np.int64(self.plan[tiles])


def sliding_plan(tiles: Tiles, width: int) -> dict[Tiles, int]:
    """The direction (an index into `AHEAD`) in which the gap moves, by the arrangements on the way to order."""
    places = [divmod(place, width) for place in range(width * width)]

    def missing(tile: int, place: int) -> int:
        (i, j), (row, column) = places[place], places[tile - 1]
        return abs(i - row) + abs(j - column) if tile else 0

    solved = (*range(1, width * width), 0)
    frontier = [(0, 0, sum(missing(tile, place) for place, tile in enumerate(tiles)), tiles)]
    came_from: dict[Tiles, tuple[Tiles, int]] = {tiles: (tiles, -1)}
    while frontier:
        _, made, left, now = heapq.heappop(frontier)
        if now == solved:
            break
        gap = now.index(0)
        row, column = places[gap]
        for direction, (right, down) in enumerate(AHEAD):
            if not (0 <= row + down < width and 0 <= column + right < width):
                continue
            other = gap + down * width + right
            changed = list(now)
            changed[gap], changed[other] = changed[other], 0
            following = tuple(changed)
            if following not in came_from:
                came_from[following] = now, direction
                after = left - missing(now[other], other) + missing(now[other], gap)
                heapq.heappush(frontier, (made + 1 + GREED * after, made + 1, after, following))
    plan = {}
    while now != tiles:
        now, direction = came_from[now]
        plan[now] = direction
    return plan


class MineSweeper(Reference):
    """Uncovers squares that must be free, by clues and what one clue leaves of another; else the least risky one."""

    name = "jumanji_minesweeper"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        board = observation["board"]
        covered = frozenset((int(i), int(j)) for i, j in np.argwhere(board < 0))
        clues = deduced({(covered, int(observation["num_mines"])), *_seen(board, covered)})
        risks = dict.fromkeys(sorted(covered), 0.0)
        for cells, mines in clues:
            for cell in cells:
                # a clue for few squares says more than one for many
                risks[cell] = max(risks[cell], mines / len(cells))
        risks |= {cell: 0.0 for cells, mines in clues if mines == 0 for cell in cells}
        return np.array(min(risks, key=lambda cell: risks[cell]), np.int32)


def _seen(board: np.ndarray, covered: frozenset[Cell]) -> Iterator[Clue]:
    for i, j in np.argwhere(board >= 0):
        around = {(int(i) + down, int(j) + right) for down, right in itertools.product((-1, 0, 1), repeat=2)}
        if cells := covered & around:
            yield cells, int(board[i, j])


def deduced(clues: set[Clue]) -> set[Clue]:
    """Adds what is left of a clue without the squares of another one that lies within it."""
    fresh = clues
    while fresh and len(clues) < MOST_CLUES:
        fresh = {
            (whole - part, mines - fewer)
            for (whole, mines), (part, fewer) in itertools.product(clues, repeat=2)
            if part < whole
        } - clues
        clues = clues | fresh
    return clues


class SnakeRunner(Reference):
    """Goes the shortest way to the fruit if the tail can be reached from there, and else follows the tail far round."""

    name = "jumanji_snake"
    method = "planner"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        grid = observation["grid"]
        order = grid[..., 4]
        body = [(int(i), int(j)) for i, j in sorted(np.argwhere(order > 0), key=lambda cell: order[tuple(cell)])]
        fruit = np.argwhere(grid[..., 3])
        width = len(grid)
        legal = [(i, _beside(body[-1], i)) for i in range(4) if observation["action_mask"][i]]
        if len(fruit):
            way = _way(width, body, (int(fruit[0][0]), int(fruit[0][1])))
            if way and _escapes(width, [*body, *way][-len(body) - 1 :]):
                return np.int64(next(i for i, cell in legal if cell == way[0]))
        # to the tail by the longest way round
        distances = steps_to(_walls(width, body[1:]), body[0])
        return np.int64(max(legal, key=lambda choice: distances.get(choice[1], -1), default=(0, None))[0])


def _beside(cell: Cell, direction: int) -> Cell:
    right, down = AHEAD[direction]
    return cell[0] + down, cell[1] + right


def _walls(width: int, cells: list[Cell]) -> np.ndarray:
    walls = np.zeros((width, width), int)
    for cell in cells:
        walls[cell] = 1
    return walls


def _way(width: int, body: list[Cell], goal: Cell) -> list[Cell]:
    """The cells of a shortest way from the head, the last of the body; its tail will have moved off."""
    distances = steps_to(_walls(width, body[1:-1]), goal)
    way: deque[Cell] = deque([body[-1]])
    while way[-1] != goal:
        options = [cell for i in range(4) if (cell := _beside(way[-1], i)) in distances]
        nearest = min(options, key=lambda cell: distances[cell], default=None)
        if nearest is None or distances[nearest] >= distances.get(way[-1], width * width):
            return []
        way.append(nearest)
    return list(way)[1:]


def _escapes(width: int, body: list[Cell]) -> bool:
    """Whether the head, the last of the body, can go to the tail, and not only by biting it."""
    return len(_way(width, body, body[0])) > (1 if len(body) > 2 else 0)


class Game2048(Reference):
    """Looks ahead by a move, a new tile and another move (expectimax: Ballard 1983).

    What it reaches is worth more with free squares, with neighbours that can merge, and where rows and columns rise to
    one side.
    """

    name = "jumanji_2048"
    method = "planner"

    def __init__(self, env: gymnasium.Env) -> None:
        rows = np.array(list(itertools.product(range(16), repeat=4)), np.int64)
        self.moved = np.array([_slid(row) for row in rows.tolist()]) @ [4096, 256, 16, 1]
        self.worth = _worth(rows)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        board = np.asarray(observation["board"], np.int64)
        after = self._after(board[None])[:, 0]
        values = [
            self._expected(after[direction]) if legal else -np.inf
            for direction, legal in enumerate(observation["action_mask"])
        ]
        return np.int64(np.argmax(values))

    def _expected(self, board: np.ndarray) -> float:
        """The value of a board to which a tile is added: the mean of the best moves after each."""
        free = np.argwhere(board == 0)
        boards = np.repeat(board[None], 2 * len(free), 0)
        for number, (i, j) in enumerate(free):
            boards[2 * number : 2 * number + 2, i, j] = 1, 2
        after = self._after(boards)
        still = (after == boards).all((2, 3))
        best = np.where(still, -np.inf, self._value(after)).max(0)
        chances = np.tile([0.9, 0.1], len(free)) / len(free)
        return float(chances @ np.where(np.isfinite(best), best, -1e6))

    def _after(self, boards: np.ndarray) -> np.ndarray:
        """The boards ``(4, n, 4, 4)`` after moves up, right, down and left."""
        turned = boards.transpose(0, 2, 1)
        views = (turned, boards[..., ::-1], turned[..., ::-1], boards)
        up, right, down, left = (self._left(view) for view in views)
        return np.stack([up.transpose(0, 2, 1), right[..., ::-1], down[..., ::-1].transpose(0, 2, 1), left])

    def _left(self, boards: np.ndarray) -> np.ndarray:
        moved: np.ndarray = self.moved[boards @ [4096, 256, 16, 1]][..., None] >> np.array([12, 8, 4, 0]) & 15
        return moved

    def _value(self, boards: np.ndarray) -> np.ndarray:
        both = np.stack([boards, boards.swapaxes(-1, -2)])
        value: np.ndarray = self.worth[both @ [4096, 256, 16, 1]].sum((0, -1))
        return value


def _slid(row: list[int]) -> list[int]:
    """A row after a move to the left; equal neighbours merge once."""
    tiles = [tile for tile in row if tile]
    merged = []
    while tiles:
        tile = tiles.pop(0)
        if tiles and tiles[0] == tile:
            tile = min(tiles.pop(0) + 1, 15)
        merged.append(tile)
    return merged + [0] * (4 - len(merged))


def _worth(rows: np.ndarray) -> np.ndarray:
    """What rows ``(n, 4)`` are worth: free squares and equal neighbours, less the falls in the better direction."""
    steps = np.diff(rows.astype(float) ** 3, axis=1)
    falls = np.minimum(np.maximum(steps, 0).sum(1), np.maximum(-steps, 0).sum(1))
    equal = ((rows[:, 1:] == rows[:, :-1]) & (rows[:, 1:] > 0)).sum(1)
    worth: np.ndarray = (
        270.0 * (rows == 0).sum(1) + 400.0 * equal - 5.0 * falls - 2.0 * (rows.astype(float) ** 3).sum(1)
    )
    return worth
