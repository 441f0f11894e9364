"""A rule for Super Mario Bros. (Kauten 2018) that reads the memory of the console."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

RUN, LEAP, BACK = 3, 4, 6  # right with B; right with A and B; left
# addresses by disassembly: github.com/SethBling (MarI/O), datacrystal.tcrf.net
ON_GROUND, FALLING = 0x1D, 0x9F  # 0 on the ground; vertical speed, negative upwards
PAGE, PLACE, HEIGHT = 0x6D, 0x86, 0xCE  # of Mario; those of the five enemies follow
ENEMIES = 0x0F
TILES = 0x0500
TILE = 16  # pixels
SCREEN = 256  # pixels
STUCK = 40  # frames without a pixel to the right
BACKWARDS = 20  # frames
TAKES_OFF, LONGEST = 3, 40  # frames of pressing the button: until it shows, and for the highest leap


class MarioRunner(Reference):
    """Runs to the right, and leaps over enemies, gaps and walls.

    Args:
        env: not used.
        reach: pixels before an enemy where it leaps.
        edge: pixels before a gap or a wall where it leaps.
    """

    name = "mario_runner"

    def __init__(self, env: gymnasium.Env, reach: int = 36, edge: int = 32) -> None:
        self.reach, self.edge = reach, edge

    def reset(self, env: gymnasium.Env) -> None:
        self.held = 0  # frames for which the button has been pressed
        self.best, self.waited = 0, 0

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        ram = np.asarray(inside(env).gym_env.unwrapped.ram, int)
        here = ram[PAGE] * SCREEN + ram[PLACE]
        self.waited = 0 if here > self.best else self.waited + 1
        self.best = max(self.best, here)
        if self.waited > STUCK + BACKWARDS:
            self.waited = 0
        if ram[ON_GROUND] == 0 and self.held == 0:
            wanted = self._should_leap(ram, here)
        else:  # held to the top; then the button is released, without which there is no new leap
            wanted = 0 < self.held < (TAKES_OFF if ram[ON_GROUND] == 0 or ram[FALLING] < 128 else LONGEST)
        self.held = self.held + 1 if wanted else 0
        return np.int64(LEAP if wanted else BACK if self.waited > STUCK else RUN)

    def _should_leap(self, ram: np.ndarray, here: int) -> bool:
        top = ram[HEIGHT]
        for enemy in range(1, 6):
            ahead = ram[PAGE + enemy] * SCREEN + ram[PLACE + enemy] - here
            near = 0 < ahead < self.reach and abs(ram[HEIGHT + enemy] - top) < 2 * TILE
            if ram[ENEMIES + enemy - 1] and near:
                return True
        feet = top // TILE  # row of the tiles below the feet; the rows begin two tiles below the top
        front = here + self.edge
        wall = any(_solid(ram, front, row) for row in (feet - 1, feet - 2))
        gap = not any(_solid(ram, front, row) for row in range(feet, 13))
        return wall or gap


def _solid(ram: np.ndarray, place: int, row: int) -> bool:
    """Whether there is a tile at a place (pixels from the start of the stage) in a row of the screen."""
    if not 0 <= row < 13:
        return False
    return bool(ram[TILES + place // SCREEN % 2 * 13 * TILE + row * TILE + place % SCREEN // TILE])
