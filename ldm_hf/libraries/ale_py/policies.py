"""Policies that look ahead in a copy of the emulator (Arcade Learning Environment, Bellemare et al. 2013)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference
from ldm_hf.spaces import Action, Info, Observation

from .policies_emulator import AtariPlanner, Plan, needs_emulator

if TYPE_CHECKING:
    import ale_py


class AtariFreeway(Reference):
    """Always up: crossing at once scores about as well as dodging, since a car only pushes back."""

    name = "atari_freeway"
    method = "scripted"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(1)


class AtariFreewayCrossing(AtariPlanner):
    """Goes up, unless a copy of the emulator shows that a car is met; then waits or steps back if that gets farther.

    Args:
        env: environment like the one that the policy will act in.
        horizon: steps to look ahead, of four frames each.
    """

    name = "atari_freeway_crossing"
    PLACE = 14  # address of the height of the chicken (Anand et al. 2019)

    def __init__(self, env: gymnasium.Env, horizon: int = 16) -> None:
        self.horizon = horizon

    def decide(self, ale: ale_py.ALEInterface) -> int:
        state = ale.cloneState(include_rng=True)
        up, *others = (self.meanings.index(meaning) for meaning in ("UP", "NOOP", "DOWN"))
        found = {up: self._reached(state, up, up)}
        if found[up][2]:
            found |= {other: self._reached(state, other, up) for other in others}
        return max(found, key=lambda action: found[action][:2])

    def _reached(self, state: ale_py.ALEState, first: int, up: int) -> tuple[int, int, bool]:
        """Steps that are left after the other side is reached, the height at the end, and whether a car was met."""
        ale, actions = self.emulator.ale, self.emulator.actions
        self.emulator.restore(state, self.last)
        height = highest = int(ale.getRAM()[self.PLACE])
        for step in range(self.horizon):
            if ale.act(actions[up if step else first]) > 0:
                return self.horizon - step, 0, False
            height = int(ale.getRAM()[self.PLACE])
            highest = max(highest, height)
        return 0, height, height < highest


class AtariLookAhead(AtariPlanner):
    """Tries actions in a copy of the emulator, and keeps improving the best plan found, see `Plan`.

    Args:
        env: environment like the one that the policy will act in.
        horizon: steps of a plan.
        trials: steps tried in the emulator for each step of the environment.
        urgent: times as many while the plan costs a life.
        discount: factor of a reward for each step that it comes later.
        seed: seed of the random plans.

    Raises:
        LDMError: if the environment has no emulator to copy.
    """

    name = "atari_look_ahead"
    worlds = ("AtariEnv",)

    def __init__(
        self,
        env: gymnasium.Env,
        horizon: int = 40,
        trials: int = 8,
        urgent: int = 6,
        discount: float = 0.99,
        seed: int = 0,
    ) -> None:
        self.horizon, self.trials, self.urgent, self.discount, self.seed = horizon, trials, urgent, discount, seed
        needs_emulator(env)

    def reset(self, env: gymnasium.Env) -> None:
        super().reset(env)
        self.plan = Plan(self.emulator, self.horizon, self.trials, self.urgent, self.discount, self.rng)

    def decide(self, ale: ale_py.ALEInterface) -> int:
        return self.plan.next(ale.cloneState(include_rng=True), self.last)
