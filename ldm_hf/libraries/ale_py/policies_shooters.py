"""Policies of games in which something is shot: rules by the console's memory, some with a look ahead."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium
import numpy as np

from .rules import AtariRule


@dataclass(frozen=True)
class Cannon:
    """When and where a shot of a cannon of Atlantis crosses the lowest lane, and the differences from lane to lane.

    Attributes:
        steps: from the shot until it is there.
        place: the column there.
        more_steps: for each higher lane.
        aside: columns for each higher lane.
    """

    steps: float
    place: float
    more_steps: float
    aside: float


class AtariAtlantis(AtariRule):
    """Fires the cannon whose shot will be where a ship will be, and not twice at the same ship.

    The addresses are from OCAtari (Delfosse et al. 2023, ``ocatari/ram/atlantis.py``); how fast shots and ships are was
    measured in the emulator, by when ships were hit that flew at different speeds.
    """

    name = "atari_atlantis"
    COLUMNS = slice(36, 40)  # of the ship in each lane, the lowest first; 0 is none
    LANES, SPEEDS = slice(71, 75), slice(75, 79)  # of each ship, in pixels a frame
    SHOTS = slice(58, 60)  # heights; 0 is none
    CANNONS = {
        "FIRE": Cannon(1.75, 76, 1.83, 0),
        "LEFTFIRE": Cannon(3.75, 56, 2.65, 29.5),
        "RIGHTFIRE": Cannon(2.75, 120, 2.53, -31.2),
    }
    REACH = 8  # columns from the middle of a ship to its ends
    step = 0
    fired = False

    def reset(self, env: gymnasium.Env) -> None:
        super().reset(env)
        self.step, self.fired = 0, False
        self.until = np.zeros(4)  # for each ship, when a shot at it should have hit

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        self.step += 1
        best = min(self._hits(memory), default=None)
        if self.fired or memory[self.SHOTS].all() or best is None:  # a button that is held does not fire again
            self.fired = False
            return "NOOP"
        _, meaning, ship, steps = best
        self.until[ship] = self.step + steps + 1
        self.fired = True
        return meaning

    def _hits(self, memory: np.ndarray) -> list[tuple[float, str, int, float]]:
        """By how much each possible shot misses the middle of a ship, its action, the ship and the steps until then."""
        found = []
        lanes, speeds = memory[self.LANES] & 127, (memory[self.SPEEDS] + 128) % 256 - 128
        for ship, (lane, speed) in enumerate(zip(lanes, speeds, strict=True)):
            column = memory[self.COLUMNS][lane] if lane < 4 else 0
            if column == 0 or self.until[ship] > self.step:
                continue
            for meaning, cannon in self.CANNONS.items():
                steps = cannon.steps + lane * cannon.more_steps
                there = column + 4 * speed * steps
                missed = abs(there - cannon.place - lane * cannon.aside)
                if missed <= self.REACH <= there <= 160 - self.REACH:
                    found.append((float(missed), meaning, ship, steps))
        return found
