"""Policies of games in which something is shot: rules by the console's memory, some with a look ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from .policies_emulator import LONGEST_RUN
from .policies_foresight import AtariForesight, Moment
from .policies_rules import AtariRule, reflected

if TYPE_CHECKING:
    pass


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


class AtariGuardedRule(AtariForesight):
    """Follows a rule, except where it is foreseen to lose a life.

    While the plan ends with the loss of a life, variants of it are tried that leave it at a random step, repeat random
    actions for some steps, and follow the rule again or what is left of the plan. A variant replaces the plan if it
    keeps the life for longer, or for equally long with no smaller discounted reward.

    Args:
        env: environment like the one that the policy will act in.
        horizon: steps of a plan, which are to be more than those from a hit until the life is lost.
        urgent: steps tried in the emulator before each step of the environment while the plan costs a life.
        trials: as many otherwise, for more reward.
        discount: factor of a reward for each step that it comes later.
        seed: seed of the variants.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        horizon: int = 30,
        urgent: int = 90,
        trials: int = 0,
        discount: float = 0.99,
        seed: int = 0,
    ) -> None:
        self.horizon, self.urgent, self.trials, self.seed = horizon, urgent, trials, seed
        self.weights = discount ** np.arange(horizon)

    def improve(self) -> None:
        self._improve(self.trials)
        self._improve(self.urgent, until_kept=True)

    def _improve(self, trials: int, until_kept: bool = False) -> None:
        best = self._value(self.plan)
        while trials > 0 and not (until_kept and best[0] == np.inf):
            at = int(self.rng.integers(len(self.plan)))
            runs = self.rng.integers(1, LONGEST_RUN + 1, self.rng.integers(1, 4))
            actions = np.repeat(self.rng.integers(len(self.meanings), size=len(runs)), runs).tolist()
            if self.rng.random() < 0.5:
                actions += [moment.action for moment in self.plan[at + len(actions) :]]
            tried = self.tried(at, actions)
            trials -= len(tried)
            plan = self.plan[:at] + tried
            if (value := self._value(plan)) >= best:
                self.plan, best = plan, value

    def _value(self, plan: list[Moment]) -> tuple[float, float]:
        """How long the life is kept, and the discounted rewards."""
        kept = float(len(plan)) if plan[-1].mishap else np.inf
        return kept, float(np.dot([moment.credit for moment in plan], self.weights[: len(plan)]))


class AtariSeaquest(AtariGuardedRule):
    """Fetches divers, shoots what is near on the way, and comes up when six are on board or the air becomes scarce.

    The addresses are from Anand et al. 2019 (arXiv 1906.08226) and OCAtari (Delfosse et al. 2023).
    """

    name = "atari_seaquest"
    SURFACE = 13
    ENEMIES, FORMATIONS, DIVERS, KINDS = 30, 36, 71, 89  # of the four lanes, the lowest first

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        x, y, air, divers = memory[[70, 97, 102, 62]]
        if y <= self.SURFACE + 2 and air < 62:  # the air is filled up only at the very surface
            return "UP" if y > self.SURFACE else "NOOP"
        if divers >= 6 or (air < 22 and divers > 0):  # without a diver, coming up costs a life
            return "UPFIRE"
        _, height, place, diver = min(self._targets(memory), default=(0, 72, 80, True))
        meaning = "DOWN" if height - y > 3 else "UP" if y - height > 3 else ""
        side, leftwards = place - x, memory[86] & 8
        if diver:
            meaning += "RIGHT" if side > 3 else "LEFT" if side < -3 else ""
        elif side > 0:
            meaning += "RIGHT" if leftwards or side > 60 else ""
        else:
            meaning += "LEFT" if not leftwards or side < -60 else ""
        return meaning + "FIRE"

    def _targets(self, memory: np.ndarray) -> list[tuple[float, int, int, bool]]:
        """For each diver and enemy on the screen: how far it seems, its height and place, and whether it is a diver."""
        x, y, found = int(memory[70]), int(memory[97]), list[tuple[float, int, int, bool]]()
        for lane in range(4):
            height, diver = 108 - 24 * lane, int(memory[self.DIVERS + lane])
            torpedo = 3 < memory[self.KINDS + lane] % 8 < 7  # a submarine's, in the byte of the diver
            if not torpedo and 0 < diver < 160 and memory[62] < 6:
                found.append((abs(diver - x) + abs(height - y) - 30, height, diver, True))
            for slot in range(3):
                place = (int(memory[self.ENEMIES + lane]) + 16 * slot) % 256
                if memory[self.FORMATIONS + lane] >> (2 - slot) & 1 and 8 < place < 155:
                    found.append((1.5 * abs(height - y) + 0.3 * abs(place - x), height, place, False))
        return found


class AtariDemonAttack(AtariGuardedRule):
    """Keeps under the demon that is nearest to the side, or where it will be when a shot arrives, and fires.

    The addresses are from OCAtari (Delfosse et al. 2023); a shot rises by 12 pixels a step.
    """

    name = "atari_demon_attack"
    PLAYER = 16
    LEFT, RIGHT = 13, 17  # halves of the three demons
    LEFT_KINDS, RIGHT_KINDS, RIGHT_ALONE = 29, 33, 47
    HEIGHTS = 69

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        middle = column(int(memory[self.PLAYER])) + 1
        sides = [place - middle for place in self._places(memory, before)]
        if not sides:
            return "NOOP"
        side = min(sides, key=abs)
        return ("RIGHT" if side > 3 else "LEFT" if side < -3 else "") + "FIRE"

    def _places(self, memory: np.ndarray, before: np.ndarray) -> list[float]:
        """Where the demons will be when a shot reaches their heights, or after five steps: they turn often."""
        found = []
        for demon in range(3):
            left, right = memory[self.LEFT_KINDS + demon], memory[self.RIGHT_KINDS + demon]
            split = left > 24
            halves = []
            if left > 3:
                halves.append((self.LEFT + demon, 4 if split else 8))
            if (split and right > 3) or (left <= 3 and memory[self.RIGHT_ALONE + demon] >> 6):
                halves.append((self.RIGHT + demon, 4))
            steps = min(memory[self.HEIGHTS + demon] / 12, 5)
            for address, middle in halves:
                place = column(int(memory[address]))
                speed = place - column(int(before[address]))
                found.append(place + middle + (0.7 * speed * steps if abs(speed) <= 12 else 0.0))
        return found


class AtariGopher(AtariGuardedRule):
    """Fills the nearest open hole, or else the one dug highest; hits the gopher while it climbs an open one.

    The addresses are from OCAtari (Delfosse et al. 2023, ``ocatari/ram/gopher.py``).
    """

    name = "atari_gopher"
    FARMER, GOPHER, CLIMBED = 31, 41, 85
    LAYERS = (0, 6, 12)  # of the soil, the highest first
    HOLES = ((16, 1, 128), (32, 1, 24), (48, 1, 1), (112, 4, 24), (128, 4, 1), (144, 5, 24))
    """Column, byte in each layer and bit of each hole."""
    FRAMES = 75  # a counter

    def __init__(self, env: gymnasium.Env, horizon: int = 50, urgent: int = 150, **settings: Any) -> None:
        super().__init__(env, horizon=horizon, urgent=urgent, **settings)

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        farmer = memory[self.FARMER] - 4
        dug = {hole: self._dug(memory, byte, bit) for hole, byte, bit in self.HOLES}
        opened = [hole for hole, layers in dug.items() if layers >= 4]
        climbed = [hole for hole in opened if memory[self.CLIMBED] > 5 and abs(hole - memory[self.GOPHER]) < 8]
        if opened:
            hole = climbed[0] if climbed else min(opened, key=lambda hole: abs(hole - farmer))
        else:
            _, _, hole = max((layers, -abs(hole - farmer), hole) for hole, layers in (dug | {80: 0}).items())
        if abs(hole - farmer) <= 2:  # a button that is held does nothing more
            return "FIRE" if memory[self.FRAMES] & 4 else "NOOP"
        return "RIGHT" if hole > farmer else "LEFT"

    def _dug(self, memory: np.ndarray, byte: int, bit: int) -> int:
        """The layers that are dug, with the highest counting most: 4, 2 and 1."""
        return sum(4 >> layer for layer, first in enumerate(self.LAYERS) if memory[first + byte] & bit)


class AtariSolaris(AtariGuardedRule):
    """Any action, drawn by the sum of the memory, unless it would lose a life: what survives meets more enemies."""

    name = "atari_solaris"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        return str(self.meanings[int(memory.sum()) * 7919 % len(self.meanings)])


class AtariNameThisGame(AtariGuardedRule):
    """Goes under the boat's pipe for air, and fires at the shark, or at the longest tentacle while the shark is high.

    It keeps under where the shark will be when a shot arrives that is fired as soon as the last one is gone. The
    addresses are from OCAtari (Delfosse et al. 2023); a shot rises by 12 pixels a step, nearly a row of the shark's.
    """

    name = "atari_name_this_game"
    ROWS = slice(53, 60)  # which of the seven rows the shark is in, the highest last
    SHARK, DIVER, BOAT, PIPE, SHOT = 60, 99, 100, 117, 50
    AIR = (112, 113)
    ENOUGH = 13  # of the 16 parts of the bar of air
    TENTACLES = ((16, 7), (48, 0), (80, 4), (96, 7), (128, 0))
    """What each ten bytes draw, the lowest first, four pixels a bit: the first column and its bit."""

    def __init__(self, env: gymnasium.Env, horizon: int = 70, urgent: int = 200, **settings: Any) -> None:
        super().__init__(env, horizon=horizon, urgent=urgent, **settings)

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        diver, shark = int(memory[self.DIVER]), int(memory[self.SHARK])
        gun = diver + (14 if memory[61] & 128 else 1)  # by where the diver looks
        rows = np.flatnonzero(memory[self.ROWS])
        row = int(rows[0]) if len(rows) else None
        side, aim = 0.0, 12
        low, tentacles = self._tentacles(memory)
        if memory[self.PIPE] and (row is None or row >= 2) and self._air(memory) <= self.ENOUGH:
            side, aim = float(memory[self.BOAT] - diver), 160
        elif tentacles and low <= 7 and (row is None or row >= 5):
            side, aim = min((place - gun for place in tentacles), key=abs), 6
        elif row is not None:
            speed = shark - int(before[self.SHARK])
            shot = memory[self.SHOT] / 12 if memory[self.SHOT] < 100 else 0  # steps until the last one is gone
            steps = 1.5 + row + shot if abs(speed) <= 16 else 0.0
            side = reflected(shark + 8 + speed * steps, 8, 152) - gun
        way = "RIGHT" if side > 3 else "LEFT" if side < -3 else ""
        return way + "FIRE" if abs(side) <= aim else way

    def _air(self, memory: np.ndarray) -> int:
        return sum(int(memory[address]).bit_count() for address in self.AIR)

    def _tentacles(self, memory: np.ndarray) -> tuple[int, list[int]]:
        """How low the lowest tentacles are, from 9 to 0, and the middles of their columns."""
        found: dict[int, list[int]] = {}
        for part, (left, first) in enumerate(self.TENTACLES):
            drawn = memory[10 * part : 10 * part + 10]
            if drawn.any():
                low = int(drawn.nonzero()[0][0])
                bits = [bit for bit in range(8) if drawn[low] >> bit & 1]
                found.setdefault(low, []).extend(left + 4 * abs(bit - first) + 2 for bit in bits)
        low = min(found, default=9)
        return low, found.get(low, [])


class AtariAssault(AtariGuardedRule):
    """Fires upwards all the time; leaving that, to dodge and before the gun overheats, is up to the look ahead."""

    name = "atari_assault"

    def __init__(self, env: gymnasium.Env, horizon: int = 40, urgent: int = 120, **settings: Any) -> None:
        super().__init__(env, horizon=horizon, urgent=urgent, **settings)

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        return "UP"


def column(place: int) -> int:
    """The column of the screen that the console positions an object at by a fine and a coarse part of a byte."""
    fine = place >> 4
    return place % 16 * 15 + (28 if fine > 7 else 12) - fine
