"""A rule for Airstriker, the game that comes with Stable Retro, which reads the picture."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference
from ldm_hf.spaces import Action, Info, Observation

TOP, SHIP, BOTTOM = 28, 176, 212  # rows where the fight begins, and where the ship is
CLOSE = 50  # rows above the ship in which a thing may hit it soon
WIDTH = 26  # pixels of a ship, about
ENEMY, HAZARD = 60, 8  # pixels of one color that an enemy, and a shot or a rock, have at least
PRESSED = 6  # frames that the button is pressed and let go
STAY, LEFT, RIGHT = range(3)


class Airstriker(Reference):
    """Dodges what is about to hit, and otherwise goes below the nearest enemy and fires."""

    name = "airstriker"

    def reset(self, env: gymnasium.Env) -> None:
        self.frame = 0
        self.ship = 140

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        red, green, blue = np.moveaxis(np.asarray(observation, int), -1, 0)
        gray = (red > 90) & (abs(red - green) < 50) & (abs(green - blue) < 50)
        mine = np.flatnonzero(gray[SHIP:BOTTOM].sum(0) > 2)
        self.ship = int(np.median(mine)) if len(mine) else self.ship
        enemies = (red > 150) & (green < 80) & (blue < 80)
        shots = (green > 120) & (red < 100) & (blue < 100)
        near = _near(shots[SHIP - CLOSE : BOTTOM]) + _near((gray | enemies)[SHIP - CLOSE : SHIP])
        move = self._dodge(near) or self._aim(_near(enemies[TOP:SHIP]))
        self.frame += 1
        fire = int(self.frame // PRESSED % 2)
        if isinstance(env.action_space, gymnasium.spaces.Discrete):
            return np.int64(3 * move + 9 * fire)
        return np.array([0, move, fire], np.int64)

    def _dodge(self, near: np.ndarray) -> int:
        """To the side where less comes down; `STAY` if nothing does."""
        if near[self.ship] < HAZARD:
            return STAY
        left, right = near[max(self.ship - 2 * WIDTH, 0) : self.ship], near[self.ship : self.ship + 2 * WIDTH]
        away = LEFT if left.sum() < right.sum() else RIGHT
        return RIGHT if self.ship < WIDTH else LEFT if self.ship > len(near) - WIDTH else away

    def _aim(self, near: np.ndarray) -> int:
        columns = np.flatnonzero(near > ENEMY)
        if not len(columns):
            return STAY
        gap = columns[np.abs(columns - self.ship).argmin()] - self.ship
        return STAY if abs(gap) < 4 else RIGHT if gap > 0 else LEFT


def _near(pixels: np.ndarray) -> np.ndarray:
    """How many pixels of a picture lie within half a ship's width of each column."""
    counts: np.ndarray = np.convolve(pixels.sum(0), np.ones(WIDTH, int), "same")
    return counts
