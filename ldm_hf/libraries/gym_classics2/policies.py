"""The optimum of a textbook's world, whose transitions are known."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.general import Transitions, ValueIteration


class TextbookProgram(ValueIteration):
    """The greedy policy of a world that tells its own transitions."""

    name = "textbook_program"
    worlds = ("BaseEnv",)
    fits = Reference.fits

    @staticmethod
    def transitions(env: gymnasium.Env) -> Mapping[int, Transitions]:
        world = inside(env)
        return {
            state: {
                action: [
                    (float(chance), int(after), float(reward), bool(ended))
                    for after, reward, ended, chance in zip(*world.model(state, action), strict=True)
                ]
                for action in world.actions()
            }
            for state in world.states()
        }
