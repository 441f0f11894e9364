"""A script for Crafter (Hafner 2021) that climbs its tree of tools and keeps alive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.search import Cell
from ldm_hf.spaces import Action, Info, Observation

MOVES = {"move_left": (-1, 0), "move_right": (1, 0), "move_up": (0, -1), "move_down": (0, 1)}
HUNGRY, TIRED = 4, 3  # of nine; then food, drink or sleep comes first
DANGER = 4  # cells; nobody sleeps with a zombie this near
FULL = 9
FOES = ("Zombie", "Skeleton")
# what is gathered from where, and up to how many
STORE = {
    "tree": ("wood", 5),
    "stone": ("stone", 5),
    "coal": ("coal", 2),
    "iron": ("iron", 2),
    "diamond": ("diamond", 9),
}
TOOLS = (
    *("make_wood_pickaxe", "make_wood_sword", "make_stone_pickaxe", "make_stone_sword"),
    *("make_iron_pickaxe", "make_iron_sword"),
)


class CrafterScript(Reference):
    """Eats, drinks, sleeps and fights where it must, and otherwise does the next thing that has not been done.

    It sees the whole map.
    """

    name = "crafter_script"
    method = "scripted"
    worlds = ("CrafterEnv",)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        from crafter import constants

        return np.int64(constants.actions.index(_Turn(inside(env)._game).action()))


class _Turn:
    """The game at one step."""

    def __init__(self, game: Any) -> None:
        from crafter import constants

        self.rules, self.world, self.player = constants, game._world, game._player
        self.have, self.done = self.player.inventory, self.player.achievements
        self.here: Cell = (int(self.player.pos[0]), int(self.player.pos[1]))
        self.front: Cell = (self.here[0] + int(self.player.facing[0]), self.here[1] + int(self.player.facing[1]))

    def action(self) -> str:
        """The first of these that is possible."""
        if self.player.sleeping:
            return "noop"
        for step in (self._fight, self._keep_alive, self._craft, self._place, self._gather):
            if chosen := step():
                return chosen
        return "noop"

    def _fight(self) -> str | None:
        beside = [kind for kind in FOES if any(self._distance(cell) <= 1 for cell in self._creatures(kind))]
        return self._use_creature(*beside) if beside else None

    def _keep_alive(self) -> str | None:
        if (self.have["drink"] < HUNGRY or not self.done["collect_drink"]) and (chosen := self._use_material("water")):
            return chosen
        hungry = self.have["food"] < HUNGRY or (self.have["food"] < FULL and not self.done["eat_cow"])
        if hungry and (chosen := self._use_creature("Cow")):
            return chosen
        alone = all(self._distance(cell) > DANGER for cell in self._creatures("Zombie"))
        tired = self.have["energy"] < (TIRED if self.done["wake_up"] else FULL)
        return "sleep" if tired and alone else None

    def _craft(self) -> str | None:
        nearby, _ = self.world.nearby(self.player.pos, 1)
        for name in TOOLS:
            rule = self.rules.make[name.removeprefix("make_")]
            if self.done[name] or not self._affords(rule["uses"]):
                continue
            missing = [place for place in rule["nearby"] if place not in nearby]
            if not missing:
                return name
            if (chosen := self._use_material(missing[0])) and chosen != "do":
                return chosen
            if self._affords(self.rules.place[missing[0]]["uses"]):
                return self._put(missing[0])
        return None

    def _place(self) -> str | None:
        for name in ("plant", "table", "stone", "furnace"):
            if not self.done[f"place_{name}"] and self._affords(self.rules.place[name]["uses"]):
                return self._put(name)
        return None

    def _gather(self) -> str | None:
        wanted = ["grass"] if not self.done["collect_sapling"] else []
        wanted += [material for material, (name, amount) in STORE.items() if self.have[name] < amount]
        for material in wanted:
            if self._affords(self.rules.collect[material]["require"]) and (chosen := self._use_material(material)):
                return chosen
        return self._use_creature(*FOES, "Cow")

    def _use_material(self, name: str) -> str | None:
        return self._use(lambda cell: self._material(cell) == name and self._creature(cell) is None)

    def _use_creature(self, *kinds: str) -> str | None:
        return self._use(lambda cell: self._creature(cell) in kinds)

    def _affords(self, uses: dict[str, int]) -> bool:
        return all(self.have[name] >= amount for name, amount in uses.items())

    def _put(self, name: str) -> str:
        """Places something in front, or turns to where there is room for it."""

        def fits(cell: Cell) -> bool:
            return self._material(cell) in self.rules.place[name]["where"] and self._creature(cell) is None

        if fits(self.front):
            return f"place_{name}"
        return next((move for move, step in MOVES.items() if fits(self._beside(step))), "move_up")

    def _use(self, wanted: Callable[[Cell], bool]) -> str | None:
        """The next action on the way to use the nearest cell of a kind; None if there is none."""
        if wanted(self.front):
            return "do"
        first: dict[Cell, str | None] = {self.here: None}
        frontier = deque([self.here])
        while frontier:
            cell = frontier.popleft()
            for move, (right, down) in MOVES.items():
                following = cell[0] + right, cell[1] + down
                if following in first or self._material(following) is None:
                    continue
                step = first[cell] or move
                if wanted(following):
                    return self._step(step)
                if self._is_passable(following):
                    first[following] = step
                    frontier.append(following)
        return None

    def _step(self, move: str) -> str:
        """A step, for which stone in the way is mined first."""
        ahead = self._beside(MOVES[move])
        return "do" if ahead == self.front and self._material(ahead) == "stone" else move

    def _is_passable(self, cell: Cell) -> bool:
        mined = self._material(cell) == "stone" and self.have["wood_pickaxe"] > 0
        return self._creature(cell) is None and (self._material(cell) in self.rules.walkable or mined)

    def _beside(self, step: Cell) -> Cell:
        return self.here[0] + step[0], self.here[1] + step[1]

    def _material(self, cell: Cell) -> str | None:
        found: str | None = self.world[cell][0]
        return found

    def _creature(self, cell: Cell) -> str | None:
        thing = self.world[cell][1]
        return None if thing is None else type(thing).__name__

    def _creatures(self, kind: str) -> list[Cell]:
        return [(int(x.pos[0]), int(x.pos[1])) for x in self.world.objects if type(x).__name__ == kind]

    def _distance(self, cell: Cell) -> int:
        return abs(cell[0] - self.here[0]) + abs(cell[1] - self.here[1])
