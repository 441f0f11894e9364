"""Tables of transitions that a seed generates: decision processes, mazes, inventories and queues."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # of a maze: row and column
Draw = Callable[[np.random.Generator], "Tables"]


@dataclass
class Tables:
    """A world of ``S`` states and ``A`` actions with ``K`` outcomes each.

    Args:
        following: the state that each outcome leads to, ``(A, S, K)``.
        chance: its probability, ``(A, S, K)``.
        reward: its reward, ``(A, S, K)``.
        start: probabilities of the first state, ``(S,)``.
        ends: states in which an episode ends, ``(S,)`` bool.
        horizon: steps after which an episode is cut.
        sizes: a state is a row of so many values, such as row and column.
        seen: probabilities of what is seen in each state, ``(S, S)``; None: the state itself.
    """

    following: np.ndarray
    chance: np.ndarray
    reward: np.ndarray
    start: np.ndarray
    ends: np.ndarray
    horizon: int
    sizes: tuple[int, ...]
    seen: np.ndarray | None = None


def mdp(rng: np.random.Generator) -> Tables:
    """Random transitions; some pay."""
    states, actions, outcomes = (int(rng.integers(*bounds)) for bounds in ((4, 25), (2, 7), (1, 4)))
    shape = (actions, states, outcomes)
    pays = rng.random((actions, states, 1)) < 0.3
    return Tables(
        following=rng.integers(states, size=shape),
        chance=rng.dirichlet(np.ones(outcomes), shape[:2]),
        reward=np.where(pays, rng.normal(0.5, 1, (actions, states, 1)), 0) * np.ones(shape),
        start=rng.dirichlet(np.full(states, 0.5)),
        ends=np.zeros(states, bool),
        horizon=int(rng.integers(20, 61)),
        sizes=(states,),
    )


def pomdp(rng: np.random.Generator) -> Tables:
    """The same, where some states look alike, and looks deceive now and then."""
    tables = mdp(rng)
    states, error = tables.sizes[0], rng.choice([0.0, 0.1, 0.2])
    looks = rng.integers(max(2, states // 2), size=states)
    tables.seen = np.full((states, states), error / states)
    tables.seen[np.arange(states), looks] += 1 - error
    return tables


def maze(rng: np.random.Generator, door: bool = False) -> Tables:
    """A labyrinth with a goal; with a door, it is behind one whose key lies on this side."""
    height, width = (int(side) for side in rng.integers(4, 9, 2))
    cells, slip = height * width, float(rng.choice([0.0, 0.1]))
    walks = _passages(rng, height, width)  # where each direction leads, (cells, 4); the cell itself at a wall
    if not door:  # a tree with some more openings
        for cell, way in zip(*(rng.integers(most, size=cells // 4).tolist() for most in (cells, 4)), strict=True):
            _open(walks, cell, way, height, width)
    goal, first = (int(cell) for cell in rng.choice(cells, 2, replace=False))
    locked, near = (-1, -1), _reached(walks, first, (-1, -1))
    if door:
        path = _path(walks, first, goal)
        place = int(rng.integers(len(path) - 1))
        locked = (path[place], path[place + 1])
        near = _reached(walks, first, locked)
    key = int(rng.choice(near))
    levels = 2 if door else 1  # without the key, with it
    following = np.empty((4, levels * cells, 2), np.int64)
    for level, cell, way in itertools.product(range(levels), range(cells), range(4)):
        target = int(walks[cell, way])
        if level == 0 and (cell, target) in (locked, locked[::-1]):
            target = cell
        has_key = door and (level == 1 or target == key)
        following[way, level * cells + cell] = target + cells * has_key, level * cells + cell
    ends = np.arange(levels * cells) % cells == goal
    chance = np.broadcast_to([1 - slip, slip], following.shape)
    start = np.zeros(levels * cells)
    start[near if not door else first] = 1
    start[ends] = 0
    reward = np.where(ends[following], 1.0, -0.02)
    sizes = (levels, height, width) if door else (height, width)
    return Tables(following, chance, reward, start / start.sum(), ends, 6 * cells, sizes)


def keys(rng: np.random.Generator) -> Tables:
    """A labyrinth with a door."""
    return maze(rng, door=True)


def inventory(rng: np.random.Generator) -> Tables:
    """Order up to a number of units a period for a random demand; lost sales."""
    capacity, most, largest = (int(number) for number in (rng.integers(5, 21), rng.integers(3, 9), rng.integers(2, 8)))
    price, cost, holding, fixed = rng.uniform((1, 0.2, 0.02, 0), (2, 0.8, 0.2, 1.0))
    demand = rng.dirichlet(np.ones(largest + 1))
    order, stock, sought = np.ogrid[: most + 1, : capacity + 1, : largest + 1]
    filled = np.minimum(stock + order, capacity)
    left = np.maximum(filled - sought, 0)
    reward = price * (filled - left) - cost * order - fixed * (order > 0) - holding * left
    start, ends = np.full(capacity + 1, 1 / (capacity + 1)), np.zeros(capacity + 1, bool)
    chance = np.broadcast_to(demand, left.shape)
    return Tables(left, chance, reward, start, ends, int(rng.integers(30, 61)), (capacity + 1,))


def queue(rng: np.random.Generator) -> Tables:
    """One server for two or three queues, of which waiting costs differ."""
    queues = int(rng.integers(2, 4))
    length = int(rng.integers(3, 7 if queues == 2 else 5)) + 1
    arrivals, served, cost = rng.uniform(0.1, 0.4, queues), rng.uniform(0.4, 0.95, queues), rng.uniform(0.2, 2, queues)
    states = np.stack(np.unravel_index(np.arange(length**queues), (length,) * queues), 1)
    outcomes = list(itertools.product([0, 1], repeat=queues + 1))
    shape = (queues, len(states), len(outcomes))
    following, chance = np.empty(shape, np.int64), np.empty(shape)
    for action, (number, (done, *come)) in itertools.product(range(queues), enumerate(outcomes)):
        after = states + np.array(come)
        after[:, action] -= done * (states[:, action] > 0)
        following[action, :, number] = np.ravel_multi_index(np.clip(after, 0, length - 1).T, (length,) * queues)
        likely = np.where(np.array(come) == 1, arrivals, 1 - arrivals).prod()
        chance[action, :, number] = likely * (served[action] if done else 1 - served[action])
    reward = -(states[following] * cost).sum(-1) / length
    start, ends = np.full(len(states), 1 / len(states)), np.zeros(len(states), bool)
    return Tables(following, chance, reward, start, ends, int(rng.integers(30, 61)), (length,) * queues)


KINDS: dict[str, Draw] = {draw.__name__: draw for draw in (mdp, pomdp, maze, keys, inventory, queue)}


def _passages(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A tree of passages through all cells by a random depth-first walk: where each direction leads, ``(cells, 4)``."""
    walks = np.repeat(np.arange(height * width)[:, None], 4, axis=1)
    trail = [int(rng.integers(height * width))]
    visited = set(trail)
    while trail:
        for way in rng.permutation(4).tolist():
            target = _neighbour(trail[-1], way, height, width)
            if target not in visited:
                _open(walks, trail[-1], way, height, width)
                visited.add(target)
                trail.append(target)
                break
        else:
            trail.pop()
    return walks


def _neighbour(cell: int, way: int, height: int, width: int) -> int:
    """The cell in a direction; the cell itself at the border."""
    row, column = cell // width + STEPS[way][0], cell % width + STEPS[way][1]
    return row * width + column if 0 <= row < height and 0 <= column < width else cell


def _open(walks: np.ndarray, cell: int, way: int, height: int, width: int) -> None:
    target = _neighbour(cell, way, height, width)
    if target != cell:
        walks[cell, way], walks[target, (way + 2) % 4] = target, cell


def _reached(walks: np.ndarray, first: int, locked: tuple[int, int]) -> list[int]:
    """Cells that are reached without passing the door."""
    return list(_tree(walks, first, locked))


def _path(walks: np.ndarray, first: int, goal: int) -> list[int]:
    """The shortest way, cell by cell."""
    before, path = _tree(walks, first, (-1, -1)), [goal]
    while path[-1] != first:
        path.append(before[path[-1]])
    return path[::-1]


def _tree(walks: np.ndarray, first: int, locked: tuple[int, int]) -> dict[int, int]:
    """The cell before each on the shortest way from the first (breadth-first search)."""
    before, waiting = {first: first}, [first]
    for cell in waiting:
        for target in map(int, walks[cell]):
            if target not in before and (cell, target) not in (locked, locked[::-1]):
                before[target] = cell
                waiting.append(target)
    return before
