"""Planners for three games of MinAtar (Young & Tian 2019)."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

MOVES = {"n": (0, 0), "l": (-1, 0), "u": (0, -1), "r": (1, 0), "d": (0, 1)}
STICKY = 0.1  # probability that the last action is repeated
Cell = tuple[int, int]


def _named(minatar: Any, letter: str) -> np.int64:
    """The action of the environment that a letter of the game stands for."""
    return np.int64(minatar.game.minimal_action_set().index(minatar.game.env.action_map.index(letter)))


class MinAtarFreeway(Reference):
    """Searches for the way across that takes the fewest frames; the cars move like clockwork, so all hits are known."""

    name = "minatar_freeway"
    method = "planner"
    horizon = 100  # frames; without cars, a crossing takes 27

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        minatar = inside(env)
        game = minatar.game.env
        hit = self._hits(game.cars)
        # (row, frames until the next move) -> first action of the way there
        reached: dict[tuple[int, int], str] = {(game.pos, game.move_timer): ""}
        for frame in range(self.horizon):
            following: dict[tuple[int, int], str] = {}
            for (row, wait), first in reached.items():
                for move, shift in (("u", -1), ("n", 0), ("d", 1)):
                    if shift and wait:
                        continue
                    there = min(row + shift, 9)
                    if there == 0:
                        return _named(minatar, first or move)
                    if hit[frame, there]:
                        continue  # sent back to the start, which is never faster than waiting there
                    following.setdefault((there, max((3 if shift else wait) - 1, 0)), first or move)
            reached = following
        return _named(minatar, "n")

    def _hits(self, cars: list[list[int]]) -> np.ndarray:
        """Whether a chicken in a row would be hit in a frame, ``(horizon, 10)``."""
        hit = np.zeros((self.horizon, 10), bool)
        for column, row, timer, speed in cars:
            for frame in range(self.horizon):
                hit[frame, row] |= column == 4
                if timer == 0:
                    column, timer = (column + np.sign(speed)) % 10, abs(speed)
                    hit[frame, row] |= column == 4
                else:
                    timer -= 1
        return hit


class MinAtarAsterix(Reference):
    """Searches all ways through the next frames for the gold that can be reached without meeting an enemy.

    What is on the screen moves like clockwork; what will come in from the sides is unknown, so they are avoided.
    """

    name = "minatar_asterix"
    method = "planner"
    horizon = 11  # frames
    life = 5.0  # gold that staying alive is worth
    delay = 0.96  # what gold is worth a frame later
    entering = 0.04  # probability that an enemy enters at a place of a side, when something does

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        minatar = inside(env)
        game = minatar.game.env
        met, spawns = self._future(game)
        # (column, row, gold that was taken) -> value and first move of the best way there
        Ways = dict[tuple[int, int, frozenset[int]], tuple[float, str]]
        reached: Ways = {(game.player_x, game.player_y, frozenset()): (0.0, "")}
        for frame in range(self.horizon):
            following: Ways = {}
            for (x, y, taken), (value, first) in reached.items():
                for move in MOVES:
                    there, risk = self._moved((x, y), move), 0.0
                    found = self._found(met[frame], there)
                    if found is None:
                        continue
                    if frame < self.horizon - 1 and self._found(met[frame + 1], self._moved(there, move)) is None:
                        risk += STICKY
                    if frame in spawns and there[0] in (0, 9):
                        risk += self.entering
                    new = found - taken
                    worth = value + len(new) * self.delay**frame - risk * self.life
                    key = (*there, taken | new)
                    if key not in following or worth > following[key][0]:
                        following[key] = (worth, first or move)
            if not following:
                break
            reached = following
        best = max(reached, key=lambda state: reached[state][0] - 0.01 * (abs(state[0] - 4.5) + abs(state[1] - 4.5)))
        return _named(minatar, reached[best][1] or "n")

    def _future(self, game: Any) -> tuple[list[dict[Cell, int]], set[int]]:
        """What is met where in each frame, gold by its number, an enemy as -1; and the frames of new ones."""
        things = [list(thing) for thing in game.entities if thing is not None]
        move, spawn = game.move_timer, game.spawn_timer
        met: list[dict[Cell, int]] = []
        spawns = set()
        for frame in range(self.horizon):
            if spawn == 0:
                spawns.add(frame)
                spawn = game.spawn_speed
            places = [(x, y, number if gold else -1) for number, (x, y, _, gold) in enumerate(things)]
            if move == 0:
                move = game.move_speed
                for thing in things:
                    thing[0] += 1 if thing[2] else -1
                places += [(x, y, number if gold else -1) for number, (x, y, _, gold) in enumerate(things)]
            met.append({(x, y): kind for x, y, kind in sorted(places, key=lambda place: -place[2])})
            move, spawn = move - 1, spawn - 1
        return met, spawns

    @staticmethod
    def _moved(place: Cell, move: str) -> Cell:
        right, down = MOVES[move]
        return min(max(place[0] + right, 0), 9), min(max(place[1] + down, 1), 8)

    @staticmethod
    def _found(met: dict[Cell, int], place: Cell) -> frozenset[int] | None:
        """The gold at a place; None if there is an enemy."""
        kind = met.get(place)
        return frozenset() if kind is None else None if kind < 0 else frozenset([kind])


class MinAtarSeaquest(Reference):
    """Tries every action in copies of the game that a few rules play on, and takes what is best on average (roll-outs).

    The copies have their own random numbers.

    Args:
        env: the game.
        frames: frames that are played on.
        copies: games for each action.
    """

    name = "minatar_seaquest"
    method = "planner"
    life, diver = 5.0, 0.7  # points that staying alive and a diver on board are worth
    delay = 0.98  # what a point is worth a frame later

    def __init__(self, env: gymnasium.Env, frames: int = 25, copies: int = 4) -> None:
        self.frames, self.copies = frames, copies

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        minatar = inside(env)
        game = minatar.game.env
        rule = self._rule(game)
        letters = [rule, *(letter for letter in "nlurdf" if letter != rule)]  # the rule wins among equals
        return _named(minatar, max(letters, key=lambda letter: self._value(game, letter)))

    def _value(self, game: Any, letter: str) -> float:
        random, value = np.random.RandomState(0), 0.0  # the same chance for every action
        for _ in range(self.copies):
            twin, chosen = self._twin(game, random), letter
            for frame in range(self.frames):
                reward, over = twin.act(twin.action_map.index(chosen))
                value += reward * self.delay**frame
                if over:
                    value -= self.life * self.delay**frame
                    break
                if random.rand() >= STICKY:
                    chosen = self._rule(twin)
            else:
                value += self.diver * twin.diver_count * self.delay**self.frames
        return value

    @staticmethod
    def _twin(game: Any, random: np.random.RandomState) -> Any:
        twin = copy.copy(game)
        twin.random = random
        for name in ("f_bullets", "e_bullets", "e_fish", "e_subs", "divers"):
            setattr(twin, name, [list(thing) for thing in getattr(game, name)])
        return twin

    @staticmethod
    def _rule(game: Any) -> str:
        """Comes up in time, dodges, shoots what is ahead, and goes to the nearest diver or enemy."""
        x, y, right = game.sub_x, game.sub_y, game.sub_or
        if y == 0:
            return "d"
        if game.diver_count and (game.diver_count == 6 or game.oxygen <= y + 8):
            return "u"
        enemies = game.e_fish + game.e_subs
        row = [thing for thing in enemies + game.e_bullets if thing[1] == y]
        if any((thing[0] < x) == bool(thing[2]) and abs(thing[0] - x) <= 2 for thing in row):  # comes, and is near
            ahead = any((thing[0] > x) == right for thing in row if len(thing) > 3)
            if ahead and game.shot_timer == 0:
                return "f"
            above = sum(thing[1] == y - 1 and abs(thing[0] - x) < 3 for thing in enemies + game.e_bullets)
            below = sum(thing[1] == y + 1 and abs(thing[0] - x) < 3 for thing in enemies + game.e_bullets)
            return "d" if y == 1 or (below < above and y < 8) else "u"
        if game.shot_timer == 0 and any((thing[0] > x) == right for thing in row if len(thing) > 3):
            return "f"
        wanted = game.divers if game.divers and game.diver_count < 6 else enemies
        if not wanted:
            return "n"
        column, level = min(wanted, key=lambda thing: abs(thing[0] - x) + abs(thing[1] - y))[:2]
        if level != y:
            return "u" if level < y else "d"
        return "l" if column < x else "r"
