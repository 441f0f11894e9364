"""Policies of isolated libraries, which need none of those to be tested: puzzles of Jumanji, and two games."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ldm_hf.libraries.gym_super_mario_bros.policies import LEAP, RUN, MarioRunner
from ldm_hf.libraries.jumanji.policies import (
    Game2048,
    GraphColoring,
    MineSweeper,
    SnakeRunner,
    colored,
    deduced,
    sliding_plan,
)
from ldm_hf.libraries.stable_retro.policies import LEFT, RIGHT, STAY, Airstriker

WHEEL = np.array([[0, 1, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 0, 1, 0], [1, 0, 1, 0, 1], [1, 1, 0, 1, 0]], bool)


class Stage(gymnasium.Env):
    """Stands for a game whose policy looks at the picture only."""

    action_space = spaces.Discrete(126)


def test_a_wheel_needs_three_colors():
    plain = np.full(5, -1)
    assert colored(WHEEL, plain, 2) is None
    colors = colored(WHEEL, plain, 3)
    assert len(set(colors)) == 3 and not (WHEEL & (colors[:, None] == colors)).any()


def test_a_coloring_goes_on_from_foreign_colors():
    colors = np.array([4, -1, -1, -1, -1])
    policy = GraphColoring(Stage())
    policy.reset(Stage())
    for node in range(1, 5):
        colors[node] = policy.act(Stage(), {"colors": colors, "adj_matrix": WHEEL, "current_node_index": node}, {})
    assert not (WHEEL & (colors[:, None] == colors)).any()


@pytest.mark.parametrize("seed", range(3))
def test_tiles_slide_into_order(seed):
    rng, width = np.random.default_rng(seed), 4
    steps = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left, as in the library
    board = np.roll(np.arange(width**2), -1).reshape(width, width)

    def slide(move):
        i, j = np.argwhere(board == 0)[0]
        k, m = i + steps[move][0], j + steps[move][1]
        if 0 <= k < width and 0 <= m < width:
            board[i, j], board[k, m] = board[k, m], 0

    for move in rng.integers(4, size=60):
        slide(move)
    plan = sliding_plan(tuple(board.ravel().tolist()), width)
    for _ in range(len(plan)):
        if (now := tuple(board.ravel().tolist())) in plan:
            slide(plan[now])
    assert board.ravel().tolist() == [*range(1, width**2), 0]


def test_clues_within_clues_tell_more():
    a, b, c = (0, 0), (0, 1), (0, 2)
    assert (frozenset({c}), 1) in deduced({(frozenset({a, b, c}), 2), (frozenset({a, b}), 1)})


def test_only_free_squares_are_uncovered_where_they_follow():
    mines = np.zeros((6, 6), bool)
    mines[0, 5] = mines[5, 0] = True
    around = np.pad(mines, 1)
    counts = sum(around[i : i + 6, j : j + 6] for i in range(3) for j in range(3)) - mines.astype(int)
    board = np.full((6, 6), -1)
    board[2:4, 2:4] = counts[2:4, 2:4]
    policy = MineSweeper(Stage())
    for _ in range(36 - 2 - 4):
        i, j = policy.act(Stage(), {"board": board, "num_mines": np.array(2)}, {})
        assert not mines[i, j] and board[i, j] == -1
        board[i, j] = counts[i, j]


def test_the_snake_grows_long():
    width, steps, rng = 6, ((-1, 0), (0, 1), (1, 0), (0, -1)), np.random.default_rng(0)
    body, fruit, policy = [(2, 2)], (4, 4), SnakeRunner(Stage())
    for _ in range(400):
        grid = np.zeros((width, width, 5))
        for number, cell in enumerate(body):
            grid[cell][4] = (number + 1) / len(body)
        grid[fruit][3] = 1
        cells = [(body[-1][0] + i, body[-1][1] + j) for i, j in steps]
        legal = np.array([min(cell) >= 0 and max(cell) < width and cell not in body[1:] for cell in cells])
        action = policy.act(Stage(), {"grid": grid, "action_mask": legal}, {})
        assert legal[action], "it bites itself or the wall"
        body.append(cells[action])
        if body[-1] == fruit:
            free = [cell for cell in np.ndindex(width, width) if cell not in body]
            if not free:
                break
            fruit = free[rng.integers(len(free))]
        else:
            body.pop(0)
    assert len(body) >= 25


def test_2048_reaches_512():
    rng, policy, board = np.random.default_rng(0), Game2048(Stage()), np.zeros((4, 4), int)
    while board.max() < 9:
        free = np.argwhere(board == 0)
        board[tuple(free[rng.integers(len(free))])] = 1 + (rng.random() < 0.1)
        after = policy._after(board[None])[:, 0]
        legal = (after != board).any((1, 2))
        assert legal.any(), "lost"
        action = policy.act(Stage(), {"board": board, "action_mask": legal}, {})
        assert legal[action]
        board = after[action].copy()


def test_the_ship_aims_and_dodges():
    policy = Airstriker(Stage())

    def move(red=None, green=None):
        picture = np.zeros((224, 320, 3), np.uint8)
        picture[185:205, 150:170] = 150  # the ship
        if red:
            picture[40:60, red - 10 : red + 10, 0] = 200
        if green:
            picture[150:158, green - 4 : green + 4, 1] = 200
        policy.reset(Stage())
        return policy.act(Stage(), picture, {}) % 9 // 3

    assert [move(), move(red=60), move(red=260), move(red=160)] == [STAY, LEFT, RIGHT, STAY]
    assert move(green=165) == LEFT and move(green=152) == RIGHT


def test_mario_leaps_over_gaps_walls_and_enemies():
    class Console(Stage):
        def __init__(self):
            self.gym_env, self.ram = self, np.zeros(2048, np.uint8)
            self.ram[0x500 + 11 * 16 : 0x500 + 13 * 16] = 84  # the ground
            self.ram[0xCE] = 176

    def first(change):
        env = Console()
        change(env.ram)
        policy = MarioRunner(env)
        policy.reset(env)
        return int(policy.act(env, None, {}))

    def gap(ram):
        ram[[0x500 + 11 * 16 + 2, 0x500 + 12 * 16 + 2]] = 0

    def wall(ram):
        ram[0x500 + 10 * 16 + 2] = 84

    def enemy(ram):
        ram[0x0F], ram[0x87], ram[0xCF] = 1, 30, 184

    assert [first(change) for change in (lambda ram: None, gap, wall, enemy)] == [RUN, LEAP, LEAP, LEAP]
