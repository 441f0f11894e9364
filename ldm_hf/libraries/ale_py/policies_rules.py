"""Rules by the console's memory, which take microseconds."""

from __future__ import annotations

import numpy as np

from .rules import AtariRule, reflected


class AtariPong(AtariRule):
    """Meets the ball where its path, with its reflections, crosses the paddle's column; hits it above the middle.

    A step moves the paddle by 21, so that it stands still where it would come no nearer.
    """

    name = "atari_pong"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        x, y, paddle = memory[[49, 54, 51]]
        target = y
        if before[54] == 0 or y == 0:
            target = 128
        elif (speed := x - before[49]) > 0:
            target = reflected(y + (y - before[54]) * max(0, 188 - x) / speed, 46, 206)
        way = target - (paddle + (paddle - before[51]) + 3)  # where the paddle will be after another step
        return "NOOP" if abs(way) <= 10 else "LEFT" if way > 0 else "RIGHT"


class AtariBreakout(AtariRule):
    """Serves, and waits where the ball will come down after its reflections."""

    name = "atari_breakout"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        x, y, paddle = memory[[99, 101, 72]]
        if y == 0:
            return "FIRE"
        target, speed = x, y - before[101]
        if speed > 0 and before[101]:
            target = reflected(x + (x - before[99]) * max(0, 180 - y) / speed, 57, 199)
        way = target - (paddle + (paddle - before[72]) + 10)  # where the paddle will be after another step
        return "NOOP" if abs(way) <= 4 else "RIGHT" if way > 0 else "LEFT"


class AtariSkiing(AtariRule):
    """Turns towards the middle of the next gate, the more the farther it is to the side."""

    name = "atari_skiing"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        heights, places, kinds = memory[86:94], memory[62:70], memory[70:78]
        ahead = (kinds == 2) & (heights < 135)
        if not ahead.any():
            return "NOOP"
        side = places[ahead][heights[ahead].argmax()] + 12 - memory[25]
        turn = 8 + np.clip(side / 3, -6, 6) - memory[15]  # 8 is straight down
        return "NOOP" if abs(turn) < 0.75 else "RIGHT" if turn > 0 else "LEFT"


class AtariBowling(AtariRule):
    """Throws from the one row from which a curve just before the pins fells all of them."""

    name = "atari_bowling"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        phase, column, row, ball = memory[[13, 29, 40, 30]]
        if phase == 0 and column <= 8:  # before the throw
            return "FIRE" if row == 12 else "UP" if row < 12 else "DOWN"
        return "UP" if phase >= 5 and ball >= 118 else "NOOP"
