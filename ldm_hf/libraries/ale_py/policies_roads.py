"""Policies of games of driving and climbing: rules whose mishaps are foreseen in a copy of the emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from .policies_foresight import AtariForesight, Moment

if TYPE_CHECKING:
    import ale_py

LONGEST_DETOUR = 10
"""Steps for which a detour repeats an action, at most."""


class AtariDetours(AtariForesight):
    """Follows a rule, and takes a detour where a mishap is foreseen.

    A detour leaves the plan at a random step, repeats another action for a while, and follows the rule again. It is
    taken if the mishap comes later, or if there is none in either and the way earns no less.

    Args:
        env: environment like the one that the policy will act in.
        horizon: steps to look ahead, of four frames each.
        detours: detours to try before a step.
        seed: seed of the random detours.
    """

    def __init__(self, env: gymnasium.Env, horizon: int = 24, detours: int = 10, seed: int = 0) -> None:
        self.horizon, self.detours, self.seed = horizon, detours, seed

    def worrying(self) -> bool:
        """Whether detours are tried; by default, if there is a mishap on the way."""
        return self.plan[-1].mishap

    def accepted(self, other: list[Moment]) -> bool:
        """Whether another way replaces the plan."""
        return self.value(other) >= self.value(self.plan)

    def value(self, way: list[Moment]) -> tuple[int, float]:
        """When the mishap comes, and what is earned until then."""
        return len(way), sum(moment.credit for moment in way)

    def improve(self) -> None:
        for _ in range(self.detours):
            if not self.worrying():
                break
            at = int(self.rng.integers(len(self.plan)))
            detour = [int(self.rng.integers(len(self.meanings)))] * int(self.rng.integers(1, LONGEST_DETOUR + 1))
            other = self.plan[:at] + self.tried(at, detour)
            if self.accepted(other):
                self.plan = other


def signed(byte: int) -> int:
    """A byte as a number from -128 to 127."""
    return (byte + 128) % 256 - 128


class AtariEnduro(AtariDetours):
    """Drives at high speed through the gaps between the cars ahead.

    The cars ahead are in seven rows, and on the left, in the middle or on the right of the road. The sets of places
    across the road that can be reached are bits of a number, so that a way through is found by shifting bits. Brakes
    if there is no way through.

    Addresses were found by experiment: 22 is the speed and 50 the speed against that of the other cars, 46 the place
    on the road, 27 to 33 the cars in the rows ahead, 25 the distance to the next row, 43 and 44 the cars that are left
    for the day. A car is in the middle if bit 4 is clear, else on the right or left by bit 0.
    """

    name = "atari_enduro"
    SPEED, RELATIVE, PLACE, ROWS, DISTANCE, LEFT = 22, 50, 46, slice(27, 34), 25, slice(43, 45)
    FASTEST, SLOWEST = 100, 4  # the one of the speed, the other of that against the other cars
    EDGE, WIDTH, LENGTH = 16, 15, (0.4, 1.6)  # of the road and of a car in places, and of a car in rows
    STEPS, LATE = 30, 5  # steps to look ahead, and those of them in which a car may be too near already

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        place = max(-20, min(20, signed(int(memory[self.PLACE]))))
        relative = signed(int(memory[self.RELATIVE]))
        rows = [(row + memory[self.DISTANCE] / 256, int(car)) for row, car in enumerate(memory[self.ROWS]) if car]
        cars = [(far, 0 if not car & 16 else -14 if car & 1 else 14) for far, car in rows]
        most, pedal, way = -self.STEPS, "FIRE", 0
        for tried in ["FIRE"] if relative < self.SLOWEST else ["FIRE", "NOOP", "DOWN"]:
            kept, far = self._through(place, cars, int(memory[self.SPEED]), relative, tried)
            if kept > most or (tried == "DOWN" and kept == most):
                most, pedal, way = kept, tried, far
            if kept == self.STEPS:
                break
        side = "LEFT" if way > 0 else "RIGHT" if way < 0 else ""
        if pedal == "NOOP" or (pedal == "FIRE" and memory[self.SPEED] >= self.FASTEST):
            return side or "NOOP"
        return side + pedal if pedal == "FIRE" else pedal + side

    def _through(
        self, place: int, cars: list[tuple[float, int]], speed: float, relative: float, pedal: str
    ) -> tuple[int, int]:
        """Steps for which one gets along, less 10 if a car is too near already, and how far to the left one has to go.

        The gas adds 1 to the speed in a step, above 46 a half; the brakes take 4. A speed of 256 / 3 above that of the
        others is a row in a step. A step to the side is 1 to 3 places, by the speed. All by experiment.
        """
        zero = 32  # the bit for the middle of the road
        road = sum(1 << zero + at for at in range(-self.EDGE, self.EDGE + 1))
        reached, sets, widths, gone, hit = 1 << zero + place, list[int](), list[int](), 0.0, 0
        slowest, others = speed - relative + self.SLOWEST, speed - relative
        for step in range(self.STEPS):
            if pedal == "FIRE":
                speed = min(speed + (1 if speed < 46 else 0.5), max(self.FASTEST, speed))
            elif pedal == "DOWN":
                speed = max(speed - 4, slowest)
            gone += (speed - others) * 3 / 256
            width = 2 - step % 2 if speed < 50 else 2 if speed < 88 else 3
            for _ in range(width):
                reached |= reached << 1 | reached >> 1
            free = road
            for far, lane in cars:
                if self.LENGTH[0] <= far - gone <= self.LENGTH[1]:
                    free &= ~(((1 << 2 * self.WIDTH - 1) - 1) << zero + lane - self.WIDTH + 1)
            if reached & free:
                reached &= free
            elif step > self.LATE:
                break
            else:
                hit = 10
            sets.append(reached)
            widths.append(width)
        for step in range(len(sets) - 2, -1, -1):
            good = sets[step + 1]
            for _ in range(widths[step + 1]):
                good |= good << 1 | good >> 1
            sets[step] &= good
        for places in sets:
            if not places >> zero + place & 1:
                way = min((at - zero - place for at in range(64) if places >> at & 1), key=abs)
                side = 1 if way > 0 else -1
                possible = any(sets[0] >> zero + place + side * far & 1 for far in (1, 2))
                return len(sets) - hit, way if possible else 0
        return len(sets) - hit, 0

    def decide(self, ale: ale_py.ALEInterface) -> int:
        if not ale.getRAM()[self.LEFT].any():  # no car counts any more on this day
            return self.meanings.index("FIRE")
        return super().decide(ale)

    def mishap(self, lost: bool, memory: np.ndarray, before: np.ndarray) -> bool:
        return bool(memory[self.SPEED] < before[self.SPEED] - 10)

    def credit(self, reward: float, memory: np.ndarray) -> float:
        return float(memory[self.SPEED])


class AtariCrazyClimber(AtariDetours):
    """Pulls up with both arms in turn, in a column with windows in the rows above.

    Addresses are from OCAtari (Delfosse et al. 2023, `ocatari/ram/crazyclimber.py`), checked against the picture: 19
    and 21 are the arms, 24 is the place across the tower, 58 the progress of a pull, 46 to 57 which windows the rows
    from above have, 95 to 102 how far windows of a row are shut, and 108 to 115 which of them. By experiment, 93 is 2
    during a fall.
    """

    name = "atari_crazy_climber"
    ARMS, PLACE, PULL, FALL, ROWS = [19, 21], 24, 58, 93, slice(49, 55)
    SHUT, KINDS = slice(99, 103), slice(112, 116)
    SHUTTERS = {0: {0, 2, 3, 5}, 2: {1, 4}, 4: {1, 4}, 6: {2, 3}, 8: {0, 5}, 10: {1, 4}}
    COLUMNS = (51, 63, 75, 91, 103, 115)
    WINDOWS = {0: {0, 1, 2, 3, 4, 5}, 4: {1, 2, 3, 4}, 8: {0, 1, 4, 5}, 12: {2, 3}, 16: {2, 3}}

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        place, wanted = int(memory[self.PLACE]), set(range(6))
        for row in memory[self.ROWS][::-1]:
            wanted = wanted & self.WINDOWS.get(int(row), wanted) or wanted
        for shut, kind in zip(memory[self.SHUT], memory[self.KINDS], strict=True):
            if shut:
                wanted = wanted - self.SHUTTERS.get(int(kind), {2, 3}) or wanted
        target = min((self.COLUMNS[column] for column in wanted), key=lambda column: abs(column - place))
        arms = memory[self.ARMS]
        aside = np.isin(arms, (1, 32)).any() or ((arms == 0).all() and abs(target - place) > 3)
        if aside and not memory[self.PULL]:
            return "RIGHT" if target > place else "LEFT"
        pulled = arms.sum() < before[self.ARMS].sum() and arms.any()
        return "DOWN" if (arms == 124).all() or pulled or memory[self.PULL] else "UP"

    def mishap(self, lost: bool, memory: np.ndarray, before: np.ndarray) -> bool:
        return bool(memory[self.FALL] == 2 != before[self.FALL])

    def worrying(self) -> bool:
        climbs = self.plan[0].memory[self.FALL] != 2
        return super().worrying() or (climbs and not any(moment.credit for moment in self.plan))

    def accepted(self, other: list[Moment]) -> bool:
        return self.value(other) > self.value(self.plan)  # so that the rule goes on where nothing is earned
