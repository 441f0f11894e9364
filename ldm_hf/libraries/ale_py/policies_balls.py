"""Rules of ball games whose aims are tried in a second emulator before they are followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from .policies_emulator import AtariPlanner
from .policies_rules import AtariRule, reflected

if TYPE_CHECKING:
    import ale_py


def toward(right: float, up: float, nearly: float = 0) -> str:
    """Meaning of the action that goes this far to the right and up, where either counts if it is more than nearly 0."""
    vertical = "UP" if up > nearly else "DOWN" if up < -nearly else ""
    return vertical + ("RIGHT" if right > nearly else "LEFT" if right < -nearly else "")


@dataclass(frozen=True)
class Tried:
    """One step of a plan: the action, the console's memory that it leads to, the reward, and whether the plan ends."""

    action: int
    memory: np.ndarray
    reward: float
    last: bool


@dataclass(frozen=True)
class Point:
    """Where a plan begins or ends: the emulator's state, the memory now and a step ago, and the last action."""

    state: ale_py.ALEState
    memory: np.ndarray
    before: np.ndarray
    action: int


class AtariAims(AtariPlanner):
    """A rule that leaves something open, its aim, which is drawn at random and tried in a second emulator.

    Whenever the ball begins to fly away, some plans are tried, in which the rule is followed with random aims, one for
    each flight of the ball. The best is kept, and what is left of the old plan is one of them. If none brings a reward,
    more are tried, and of equal ones the last is taken, so that nothing goes on for ever. The emulator is exact, also
    about sticky actions, so a plan does what it has promised. After another action than the plan's, it is made anew.

    Args:
        env: environment like the one that the policy will act in.
        horizon: steps of a plan.
        trials: plans to try for each new aim.
        urgent: times as many while none of them brings a reward.
        discount: factor of a reward for each step that it comes later.
        loss: what the loss of a ball counts, discounted likewise.
        seed: seed of the aims.
    """

    numbers = 2
    plan: list[Tried]
    end: Point
    before: np.ndarray | None
    expected: np.ndarray | None

    def __init__(
        self,
        env: gymnasium.Env,
        horizon: int = 120,
        trials: int = 3,
        urgent: int = 4,
        discount: float = 0.99,
        loss: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.horizon, self.trials, self.urgent = horizon, trials, urgent
        self.discount, self.loss, self.seed = discount, loss, seed

    def reset(self, env: gymnasium.Env) -> None:
        super().reset(env)
        self.plan, self.before, self.expected, self.flew = [], None, None, False

    def decide(self, ale: ale_py.ALEInterface) -> int:
        memory = ale.getRAM().astype(int)
        before = memory if self.before is None else self.before
        if self.expected is None or (self.expected != memory).any():
            self.plan = []
        flew, self.flew = self.flew, self.away(memory, before)
        if not self.plan or (self.flew and not flew):
            self._improve(Point(ale.cloneState(include_rng=True), memory, before, self.last))
        step = self.plan.pop(0)
        self.before, self.expected = memory, step.memory
        return step.action

    def _improve(self, start: Point) -> None:
        """Extends the plan to the horizon, and replaces it by the best of some others."""
        best = -np.inf
        if self.plan:
            if not self.plan[-1].last:
                steps, self.end = self._tried(self.end, self.horizon - len(self.plan))
                self.plan += steps
            elif not self._fails(self.plan):
                return
            best = self._value(self.plan)
        for trial in range(self.trials * self.urgent):
            if trial >= self.trials and best > 0:
                break
            steps, end = self._tried(start, self.horizon)
            if (value := self._value(steps)) >= best:
                self.plan, self.end, best = steps, end, value

    def _tried(self, start: Point, length: int) -> tuple[list[Tried], Point]:
        """Steps of the rule with new aims, and where they end."""
        ale, steps = self.emulator.ale, list[Tried]()
        self.emulator.restore(start.state, start.action)
        memory, before, action = start.memory, start.before, start.action
        lives, aim, flies = ale.lives(), self._aim(), self.away(memory, before)
        while len(steps) < length and not (steps and steps[-1].last):
            flew, flies = flies, self.away(memory, before)
            if flies and not flew:
                aim = self._aim()
            action = self.meanings.index(self.choose(memory, before, aim))
            reward = ale.act(self.emulator.actions[action])
            before, memory = memory, ale.getRAM().astype(int)
            last = self.ends(reward, ale.lives() < lives) or ale.game_over()
            steps.append(Tried(action, memory, reward, last))
        return steps, Point(ale.cloneState(include_rng=True), memory, before, action)

    def _value(self, steps: list[Tried]) -> float:
        """What a plan is worth, by its rewards and its end."""
        value = float(sum(step.reward * self.discount**index for index, step in enumerate(steps)))
        return value - self.loss * self.discount ** len(steps) if self._fails(steps) else value

    def _fails(self, steps: list[Tried]) -> bool:
        return steps[-1].last and steps[-1].reward <= 0

    def _aim(self) -> np.ndarray:
        return self.rng.uniform(-1, 1, size=self.numbers)

    def away(self, memory: np.ndarray, before: np.ndarray) -> bool:
        """Whether the ball flies away, by the memory ``(128,)`` now and a step ago."""
        raise NotImplementedError

    def choose(self, memory: np.ndarray, before: np.ndarray, aim: np.ndarray) -> str:
        """Meaning of the action for an aim: `numbers` from -1 to 1, of which the rule makes what it likes."""
        raise NotImplementedError

    def ends(self, reward: float, lost: bool) -> bool:
        """Whether a plan ends with a step that has brought a reward or lost a life."""
        raise NotImplementedError


class AtariPongAims(AtariAims):
    """Meets the ball in Pong with that part of the paddle from which the other side will not return it.

    Addresses: Anand et al. 2019 (arXiv 1906.08226).
    """

    name = "atari_pong_aims"

    def away(self, memory: np.ndarray, before: np.ndarray) -> bool:
        return bool(memory[49] < before[49])

    def choose(self, memory: np.ndarray, before: np.ndarray, aim: np.ndarray) -> str:
        x, y, paddle = memory[[49, 54, 51]].tolist()
        target = y
        if before[54] == 0 or y == 0:
            target = 128
        elif (speed := x - before[49]) > 0:
            target = reflected(y + (y - before[54]) * max(0, 188 - x) / speed, 46, 206)
        way = target + 18 * aim[0] - (paddle + (paddle - before[51]))  # where the paddle will be after another step
        return "NOOP" if abs(way) <= 10 else "LEFT" if way > 0 else "RIGHT"

    def ends(self, reward: float, lost: bool) -> bool:
        return reward != 0


def breakout(memory: np.ndarray, before: np.ndarray, beside: float) -> str:
    """Meaning of the action that serves, or goes to where the ball will come down, or so far beside.

    Addresses: Anand et al. 2019 (arXiv 1906.08226).
    """
    x, y, paddle = memory[[99, 101, 72]].tolist()
    if y == 0:
        return "FIRE"
    target, speed = x, y - before[101]
    if speed > 0 and before[101]:
        target = reflected(x + (x - before[99]) * max(0, 180 - y) / speed, 57, 199)
    way = target + beside - (paddle + (paddle - before[72]) + 10)  # where its middle will be after another step
    return "NOOP" if abs(way) <= 4 else "RIGHT" if way > 0 else "LEFT"


class AtariBreakout(AtariRule):
    """Serves, and waits where the ball will come down after its reflections."""

    name = "atari_breakout"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        return breakout(memory, before, 0)


class AtariBreakoutAims(AtariAims):
    """Serves in Breakout, and meets the ball with that part of the paddle from which it breaks the most bricks.

    The two bytes of the score are decimal, found by experiment.
    """

    name = "atari_breakout_aims"
    SCORE, ALL = [76, 77], [0x08, 0x64]
    """Address of the score, and what it is after two walls, of 432 each; there is no third."""

    def decide(self, ale: ale_py.ALEInterface) -> int:
        if ale.getRAM()[self.SCORE].tolist() == self.ALL:
            return self.meanings.index("FIRE")  # gives the balls that are left away
        return super().decide(ale)

    def away(self, memory: np.ndarray, before: np.ndarray) -> bool:
        return bool(memory[101] < before[101])

    def choose(self, memory: np.ndarray, before: np.ndarray, aim: np.ndarray) -> str:
        return breakout(memory, before, 12 * aim[0])

    def ends(self, reward: float, lost: bool) -> bool:
        return lost


class AtariTennisAims(AtariAims):
    """Follows the ball in Tennis with a swing in every step, at a side and depth from which the point is won.

    Addresses: Anand et al. 2019 (arXiv 1906.08226) and OCAtari (github.com/k4ntz/OC_Atari, ocatari/ram/tennis.py).
    """

    name = "atari_tennis_aims"
    SIDE = 80
    """Address of the player's side of the net: 0 is far."""
    SHADOW = 55
    """Address of how far from the camera the ball is."""

    def away(self, memory: np.ndarray, before: np.ndarray) -> bool:
        return bool((memory[self.SHADOW] < before[self.SHADOW]) == (memory[self.SIDE] == 0))

    def choose(self, memory: np.ndarray, before: np.ndarray, aim: np.ndarray) -> str:
        far = memory[self.SIDE] == 0
        ball, x, y = memory[[16, 26, 24] if far else [16, 27, 25]].tolist()
        side = ball - 4 + 12 * aim[0] - x
        forward = 15 * max(0.0, aim[1])  # half of all aims stay at the line
        depth = (142 - forward if far else 2 + forward) - y
        return toward(side, depth, nearly=3) + "FIRE"

    def ends(self, reward: float, lost: bool) -> bool:
        return reward != 0


class AtariFishingDerby(AtariAims):
    """Lowers the hook in Fishing Derby to a near or heavy fish, and pulls it up at a side where the shark is not.

    How much the weight counts, the place at the fish and the side are the aim, until it is brought up or lost.
    Addresses: OCAtari (github.com/k4ntz/OC_Atari, ocatari/ram/fishingderby.py); the depths of the rows were found by
    experiment.
    """

    name = "atari_fishing_derby"
    numbers = 3
    CAUGHT = 112
    """Address of the row of the fish at the hook: 1, the deepest, to 6; 0 is none."""
    PLACES = np.arange(69, 75)
    """Addresses of the places of the fish, from the deepest row."""
    DEPTHS, WEIGHTS, REACH = np.arange(45, 9, -7), np.array([6, 6, 4, 4, 2, 2]), 88
    """Depths of the rows, what their fish weigh, and how far the hook gets."""

    def away(self, memory: np.ndarray, before: np.ndarray) -> bool:
        return bool(memory[self.CAUGHT] == 0)

    def choose(self, memory: np.ndarray, before: np.ndarray, aim: np.ndarray) -> str:
        x, depth = memory[[32, 65]].tolist()
        if memory[self.CAUGHT]:
            return "UP" + toward(54 + 25 * aim[2] - x, 0, nearly=2) + "FIRE"
        sides, depths = memory[self.PLACES] + 3 + 3 * aim[1] - x, self.DEPTHS - depth
        value = (1 + aim[0]) * self.WEIGHTS - np.maximum(abs(sides), abs(depths)) / 10 - 99 * (sides + x > self.REACH)
        row = int(value.argmax())
        return toward(sides[row], -depths[row], nearly=0.99) or "NOOP"

    def ends(self, reward: float, lost: bool) -> bool:
        return False


class AtariSurround(AtariAims):
    """Goes where more of the field can be reached before the other player than the other way round.

    How much the other player's cells count, and whether walls are sought, is the aim, for 32 moves each.

    The field has 20 rows of 40 columns, whose memory was found by experiment: a playfield of the console has, for each
    row, three bytes for either half, in which the order of the bits alternates. A field is a number here with a bit for
    each cell, so that a step in all directions at once is four shifts.
    """

    name = "atari_surround"
    WIDE = 40
    PLAYERS = [110, 112, 109, 111]
    """Addresses of the row and the column of this player and of the other."""
    CLOCK = 100
    WAYS = {"UP": -WIDE, "DOWN": WIDE, "LEFT": -1, "RIGHT": 1}
    BITS = (
        [(0, bit) for bit in range(4)]
        + [(20, bit) for bit in range(7, -1, -1)]
        + [(40, bit) for bit in range(8)]
        + [(0, bit) for bit in range(4, 8)]
        + [(60, bit) for bit in range(7, -1, -1)]
        + [(80, bit) for bit in range(8)]
    )
    """First address and bit of each column."""
    BYTES = np.array([start for start, _ in BITS]) + np.arange(20)[:, None]
    SHIFTS = np.array([bit for _, bit in BITS])

    def reset(self, env: gymnasium.Env) -> None:
        super().reset(env)
        self.known: tuple[tuple[float, ...], str] = ((), "")

    def away(self, memory: np.ndarray, before: np.ndarray) -> bool:
        return bool(memory[self.CLOCK] >= 128)

    def ends(self, reward: float, lost: bool) -> bool:
        return reward != 0

    def choose(self, memory: np.ndarray, before: np.ndarray, aim: np.ndarray) -> str:
        row, column, other_row, other_column = memory[self.PLAYERS].tolist()
        mine, other = row * self.WIDE + column, other_row * self.WIDE + other_column
        if (key := (mine, other, aim[0])) == self.known[0]:
            return self.known[1]
        full = memory[self.BYTES] >> self.SHIFTS & 1
        full[[0, -1]] = full[:, [0, -1]] = 1
        free = int.from_bytes(np.packbits(1 - full, bitorder="little").tobytes(), "little")
        best, chosen = -np.inf, "NOOP"
        for meaning, way in self.WAYS.items():
            place = mine + way
            if free >> place & 1:
                walls = sum(1 - (free >> place + turn & 1) for turn in self.WAYS.values())
                ours, theirs = self._reached(free, 1 << place, 1 << other)
                if (value := ours - (1 + aim[0]) * theirs + 3 * aim[1] * walls) > best:
                    best, chosen = value, meaning
        self.known = key, chosen
        return chosen

    def _reached(self, free: int, mine: int, other: int) -> tuple[int, int]:
        """Cells that either player reaches first, where the other moves first."""
        free &= ~(mine | other)
        fresh, others = mine, other
        while fresh or others:
            others = self._around(others) & free
            free &= ~others
            other |= others
            fresh = self._around(fresh) & free
            free &= ~fresh
            mine |= fresh
        return mine.bit_count(), other.bit_count()

    def _around(self, cells: int) -> int:
        return cells << 1 | cells >> 1 | cells << self.WIDE | cells >> self.WIDE


class AtariVideoPinball(AtariAims):
    """Flips in Video Pinball when the ball comes down: which flipper, and how early, is the aim for each time.

    A plan is also worth something if it knocks targets down and raises the numbers in the bumpers, which count in each
    later hit. Addresses: Anand et al. 2019 (arXiv 1906.08226) and OCAtari (github.com/k4ntz/OC_Atari,
    ocatari/ram/videopinball.py); the plunger was found by experiment.
    """

    name = "atari_video_pinball"
    PLUNGER, PULLED = 70, 87
    """Address of the plunger, and what it is when it is pulled back completely."""
    TARGETS = [72, 73, 74]
    """Addresses of the three targets at the top, which are 0 when they are down."""
    NUMBERS = [75, 76]
    """Addresses of the numbers in the bumpers, times 8."""

    def away(self, memory: np.ndarray, before: np.ndarray) -> bool:
        return bool(memory[68] > before[68] and memory[68] > 150)  # it comes down to the flippers

    def choose(self, memory: np.ndarray, before: np.ndarray, aim: np.ndarray) -> str:
        x, y = memory[[67, 68]].tolist()
        if (x, y) == (149, 132):  # before the plunger
            return "FIRE" if memory[self.PLUNGER] >= self.PULLED else "DOWN"
        if 176 + 8 * aim[0] < y < 192:
            return ("LEFT", "UP", "RIGHT")[int(1.49 * (1 + aim[1]))]  # up is both
        return "NOOP"

    def ends(self, reward: float, lost: bool) -> bool:
        return lost

    def _value(self, steps: list[Tried]) -> float:
        return super()._value(steps) + self._worth(steps[-1].memory) - self._worth(steps[0].memory)

    def _worth(self, memory: np.ndarray) -> float:
        return float(500 * (memory[self.TARGETS] == 0).sum() + 250 * memory[self.NUMBERS].sum())
