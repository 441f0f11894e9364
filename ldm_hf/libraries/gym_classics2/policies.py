"""The optimum of a textbook's world, whose transitions are known."""

from __future__ import annotations

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference, inside
from ldm_hf.references.general import value_iteration
from ldm_hf.spaces import Action, Info, Observation


class TextbookProgram(Reference):
    """The greedy policy of the world's own model, by value iteration."""

    name = "textbook_program"
    method = "tabular"
    worlds = ("BaseEnv",)

    def __init__(self, env: gymnasium.Env, discount: float = 0.999) -> None:
        world = inside(env)
        table = {
            state: {
                action: [
                    (float(chance), int(after), float(reward), bool(ended))
                    for after, reward, ended, chance in zip(*world.model(state, action), strict=True)
                ]
                for action in world.actions()
            }
            for state in world.states()
        }
        # Rounding keeps ties equal, so that the first of equally good actions is always taken.
        self.policy = value_iteration(table, discount).round(8).argmax(1)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(self.policy[int(observation)])
