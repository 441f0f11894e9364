"""Rules by the console's memory that are foreseen in a second emulator, so that what goes wrong can be avoided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from .policies_emulator import AtariPlanner

if TYPE_CHECKING:
    import ale_py


@dataclass(frozen=True)
class Moment:
    """One step of a plan: what was done, what it earned, whether it is a mishap, and where it led to.

    Attributes:
        action: index of the action.
        credit: what counts for the step.
        mishap: whether something went wrong.
        state: state of the emulator afterwards.
        before: memory before the action.
        memory: memory afterwards.
    """

    action: int
    credit: float
    mishap: bool
    state: ale_py.ALEState
    before: np.ndarray
    memory: np.ndarray


class AtariForesight(AtariPlanner):
    """Follows a rule by the console's memory, except where a second emulator shows a mishap on its way.

    There is always a plan: what the rule will do, and where it leads. It is made longer by one step before each step.
    How it is made better is up to `improve`.

    Attributes:
        horizon: steps of a plan.
    """

    horizon = 24

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        """Meaning of the action of the rule, by the memory ``(128,)`` now and a step ago."""
        raise NotImplementedError

    def mishap(self, lost: bool, memory: np.ndarray, before: np.ndarray) -> bool:
        """Whether something went wrong in a step; by default, the loss of a life or the end of the game.

        Args:
            lost: whether a life was lost or the game has ended.
            memory: memory after the step.
            before: memory before it.
        """
        return lost

    def credit(self, reward: float, memory: np.ndarray) -> float:
        """What counts for a step, by default its reward."""
        return reward

    def improve(self) -> None:
        """Changes the plan for the better, if it wants to."""
        raise NotImplementedError

    def reset(self, env: gymnasium.Env) -> None:
        super().reset(env)
        self.plan: list[Moment] = []
        self.now: Moment | None = None

    def decide(self, ale: ale_py.ALEInterface) -> int:
        state = ale.cloneState(include_rng=True)
        if self.now is None or not self.now.state.equals(state):  # the first step, or another action was executed
            memory = ale.getRAM().astype(int)
            self.now, self.plan = Moment(self.last, 0.0, False, state, memory, memory), []
        if not (self.plan and self.plan[-1].mishap):
            self.plan += self.tried(len(self.plan))
        self.improve()
        self.now = self.plan.pop(0)
        return self.now.action

    def tried(self, at: int, actions: Sequence[int] = ()) -> list[Moment]:
        """What follows after so many steps of the plan: some actions, then the rule, to the horizon or a mishap."""
        moment = self.plan[at - 1] if at else self.now
        assert moment is not None, "`decide` begins the plan"
        ale, found = self.emulator.ale, list[Moment]()
        self.emulator.restore(moment.state, moment.action)
        lives, over = ale.lives(), False
        while len(found) < self.horizon - at and not (found and (moment.mishap or over)):
            if len(found) < len(actions):
                action = actions[len(found)]
            else:
                action = self.meanings.index(self.choose(moment.memory, moment.before))
            reward = ale.act(self.emulator.actions[action])
            before, memory, over = moment.memory, ale.getRAM().astype(int), ale.game_over()
            mishap = self.mishap(ale.lives() < lives or over, memory, before)
            lives = ale.lives()
            state = ale.cloneState(include_rng=True)
            moment = Moment(action, self.credit(reward, memory), mishap, state, before, memory)
            found.append(moment)
        return found
