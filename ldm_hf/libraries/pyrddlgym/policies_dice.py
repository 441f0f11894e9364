"""A rule for the coloured dice of the planning competition of 2018, in RDDL (Sanner 2010)."""

from __future__ import annotations

import itertools

import gymnasium
import numpy as np

from ldm_hf.libraries.pyrddlgym.policies import _Solver
from ldm_hf.libraries.pyrddlgym.policies_rules import constants, setting
from ldm_hf.spaces import Action, Info, Observation

DICE, SIDES, COLORS = 5, 6, 5
KINDS = (
    *("ones", "twos", "threes", "fours", "fives", "sixes", "reds", "greens", "yellows", "blues", "purples"),
    *("two-pairs", "three-of-a-kind", "four-of-a-kind", "full-house", "small-straight", "large-straight", "chance"),
    *("five-of-a-kind", "three-of-a-color", "four-of-a-color", "color-full-house", "flush", "rainbow"),
)
"""The fields of the sheet in the order of the problem."""
COLOR_NAMES = ("red", "green", "blue", "yellow", "purple")
THROWS = 64  # by which a choice of dice to throw again is judged
ASSIGN = 3  # number of the phase in which a field is filled in
KEEPS = np.array(list(itertools.product((True, False), repeat=DICE)))
TRIES = 6  # throws of which the best is what a field is usually worth


class DiceThrower(_Solver):
    """Throws again the dice whose change promises most, and fills the field that gains most over what is usual for it.

    Args:
        env: the problem with its chances of values and colors.
    """

    name = "rddl_dice"
    method = "heuristic"
    problem = "ChromaticDice_ippc2018"

    def __init__(self, env: gymnasium.Env) -> None:
        fluents = constants(env)
        self.chances = [np.asarray(fluents[f"{kind}_PROB"], float) for kind in ("VALUE", "COLOR")]
        self.prizes = {
            kind: float(fluents[f"SCORE_{kind.replace('-', '_').upper()}"])
            for kind in (
                "five-of-a-kind",
                "large-straight",
                "small-straight",
                "full-house",
                "color-full-house",
                "rainbow",
            )
        }
        self.random = np.random.default_rng(0)
        values, colors = self._thrown(2000 * TRIES)
        self.usual = self.points(values, colors).reshape(2000, TRIES, -1).max(1).mean(0)

    def reset(self, env: gymnasium.Env) -> None:
        self.random = np.random.default_rng(0)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        values, colors = observation["die-value"], observation["die-color"]
        free = observation["taken"] == 0
        if not free.any():
            return setting(env)
        if int(observation["current-phase"]) >= ASSIGN:
            gains = self.points(values[None], colors[None])[0] - self.usual
            return setting(env, assign_to=np.eye(len(KINDS))[np.where(free, gains, -np.inf).argmax()])
        new_values, new_colors = self._thrown(len(KEEPS) * THROWS)
        keep = np.repeat(KEEPS, THROWS, 0)
        points = self.points(np.where(keep, values, new_values), np.where(keep, colors, new_colors)) - self.usual
        worth = points[:, free].max(1).reshape(len(KEEPS), THROWS).mean(1)
        return setting(env, roll=~KEEPS[worth.argmax()])

    def _thrown(self, times: int) -> list[np.ndarray]:
        return [self.random.choice(len(chance), (times, DICE), p=chance / chance.sum()) for chance in self.chances]

    def points(self, values: np.ndarray, colors: np.ndarray) -> np.ndarray:
        """What dice score in each field, ``(n, fields)``.

        Args:
            values: ``(n, dice)``, from 0.
            colors: ``(n, dice)``, indices into `COLOR_NAMES`.
        """
        eyes = values + 1
        total = eyes.sum(1)
        counts = (values[:, None] == np.arange(SIDES)[:, None]).sum(2)
        shades = (colors[:, None] == np.arange(COLORS)[:, None]).sum(2)
        by_color = ((colors[:, None] == np.arange(COLORS)[:, None]) * eyes[:, None]).sum(2)
        shown = counts > 0
        runs = {
            length: np.array([shown[:, i : i + length].all(1) for i in range(SIDES + 1 - length)]).any(0)
            for length in (4, 5)
        }
        most, many = counts.max(1), shades.max(1)
        pairs = (counts // 2).sum(1) >= 2
        same = by_color[np.arange(len(values)), shades.argmax(1)]
        found = {
            **{kind: counts[:, i] * (i + 1) for i, kind in enumerate(KINDS[:SIDES])},
            **{f"{name}s": by_color[:, i] for i, name in enumerate(COLOR_NAMES)},
            "two-pairs": total * pairs,
            "three-of-a-kind": total * (most >= 3),
            "four-of-a-kind": total * (most >= 4),
            "full-house": pairs & (most >= 3),
            "small-straight": runs[4],
            "large-straight": runs[5],
            "chance": total,
            "five-of-a-kind": most == DICE,
            "three-of-a-color": same * (many >= 3),
            "four-of-a-color": same * (many >= 4),
            "color-full-house": ((shades // 2).sum(1) >= 2) & (many >= 3),
            "flush": total * (many == DICE),
            "rainbow": many == 1,
        }
        scored: np.ndarray = np.stack([found[kind] * self.prizes.get(kind, 1.0) for kind in KINDS], 1)
        return scored
