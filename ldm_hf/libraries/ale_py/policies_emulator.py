"""A second emulator of an Atari game, and plans that are tried in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ldm_hf.errors import LDMError
from ldm_hf.references.base import Reference, inside
from ldm_hf.spaces import Action, Info, Observation

if TYPE_CHECKING:
    import ale_py
    from ale_py.env import AtariEnv

LONGEST_RUN = 8
"""Steps for which a random plan repeats an action, at most."""


@dataclass(frozen=True)
class Step:
    """One step of a plan: the action, and what it leads to in the emulator."""

    action: int
    reward: float
    lost: bool
    state: ale_py.ALEState


class Emulator:
    """A second emulator of the game of an environment, in which actions can be tried without consequences.

    Args:
        env: environment to imitate.
        frame_skip: frames for which an action is repeated.
    """

    def __init__(self, env: AtariEnv, frame_skip: int) -> None:
        import ale_py
        from ale_py import roms

        self.ale = ale_py.ALEInterface()
        self.ale.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale.setFloat("repeat_action_probability", env.ale.getFloat("repeat_action_probability"))
        self.ale.setInt("max_num_frames_per_episode", env.ale.getInt("max_num_frames_per_episode"))
        self.ale.setInt("frame_skip", frame_skip)
        rom = roms.get_rom_path(env._game)
        assert rom is not None  # the environment runs it
        self.ale.loadROM(rom)
        self.actions = list(env._action_set)
        self.sticky = env.ale.getFloat("repeat_action_probability") > 0

    def restore(self, state: ale_py.ALEState, last: int) -> None:
        """Goes back to a state that followed from an action.

        Sticky actions may repeat it, and it is not part of a state.
        """
        if self.sticky:
            for _ in range(2):  # of four frames each, in all of which the one before is hardly ever repeated
                self.ale.act(self.actions[last])
        self.ale.restoreState(state)

    def steps(self, state: ale_py.ALEState, last: int, actions: np.ndarray) -> list[Step]:
        """Executes actions one after the other from a state; ends with the first that costs a life or ends the game.

        Args:
            state: state to begin with.
            last: index of the action before it.
            actions: indices of the actions.
        """
        ale, found = self.ale, list[Step]()
        self.restore(state, last)
        lives = ale.lives()
        for action in actions:
            reward = ale.act(self.actions[action])
            lost = ale.lives() < lives
            found.append(Step(int(action), reward, lost, ale.cloneState(include_rng=True)))
            if lost or ale.game_over():
                break
        return found


def second_emulator(env: gymnasium.Env) -> Emulator:
    """An emulator of the game of an environment, in which actions can be tried.

    Raises:
        LDMError: if the environment has no emulator.
    """
    needs_emulator(env)
    return Emulator(inside(env), env.get_wrapper_attr("frame_skip"))


def needs_emulator(env: gymnasium.Env) -> None:
    """Checks that an environment has an emulator.

    Raises:
        LDMError: if it has none.
    """
    if not hasattr(env.unwrapped, "ale"):
        raise LDMError(
            f"{env}: the policy tries actions in a copy of the emulator, and this environment has no `ale` to copy; "
            "use it for rows of ale-py"
        )


class AtariPlanner(Reference):
    """A policy that tries actions in a second emulator before it acts.

    Attributes:
        seed: seed of what it tries.
    """

    method = "planner"
    seed = 0

    def reset(self, env: gymnasium.Env) -> None:
        self.emulator = second_emulator(env)
        self.meanings: list[str] = inside(env).get_action_meanings()
        self.rng = np.random.default_rng(self.seed)
        self.last = 0  # an episode begins by doing nothing

    def executed(self, action: Action) -> None:
        self.last = int(action)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        self.last = self.decide(inside(env).ale)
        return np.int64(self.last)

    def decide(self, ale: ale_py.ALEInterface) -> int:
        """Index of the action, by the emulator of the environment, which stays as it is; `last` is the one before."""
        raise NotImplementedError


class Plan:
    """The best known actions for the next steps; it is improved before each step, and what is left of it kept.

    A new plan agrees with the old one up to a random step. From there, each action is repeated for a random number of
    steps, as in random shooting; in every second one, the old actions follow after the first of them. It replaces the
    old plan if it keeps the life for longer, or for equally long with no smaller discounted reward. The emulator is
    exact, so a plan that is kept does what it has promised.

    Args:
        emulator: where plans are tried.
        horizon: steps of a plan.
        trials: steps to try in the emulator before each step of the environment.
        urgent: times as many while the plan costs a life.
        discount: factor of a reward for each step that it comes later.
        rng: source of randomness.
    """

    def __init__(
        self, emulator: Emulator, horizon: int, trials: int, urgent: int, discount: float, rng: np.random.Generator
    ) -> None:
        self.emulator, self.horizon, self.trials, self.urgent, self.rng = emulator, horizon, trials, urgent, rng
        self.weights = discount ** np.arange(horizon)
        self.start: ale_py.ALEState | None = None
        self.last = 0  # action before the start
        self.steps: list[Step] = []
        self.left = 0  # trials that are allowed, less those of a last attempt that took longer

    def begin(self, state: ale_py.ALEState, last: int) -> None:
        """Forgets the plan and makes one from a state after an action, with as many trials as for a whole horizon."""
        self.start, self.last = state, last
        self.steps = self.emulator.steps(state, last, self._random(self.horizon))
        self._improve(self.horizon * self.trials)

    def next(self, state: ale_py.ALEState, last: int) -> int:
        """The action in a state after another: of the plan, if it has foreseen the state, else of a new one."""
        if self.start is None or not self.start.equals(state):
            self.begin(state, last)
        else:
            if self.horizon > len(self.steps) and not self._ends():
                more = self._random(self.horizon - len(self.steps))
                self.steps += self.emulator.steps(*self._after(len(self.steps)), more)
            self._improve(self.trials)
            if self._ends():
                self._improve(self.trials * (self.urgent - 1))
        first = self.steps.pop(0)
        self.start, self.last = first.state, first.action
        return first.action

    def _after(self, steps: int) -> tuple[ale_py.ALEState, int]:
        """The state after so many steps, and the action before it."""
        assert self.start is not None, "`begin` makes the plan"
        return (self.steps[steps - 1].state, self.steps[steps - 1].action) if steps else (self.start, self.last)

    def _ends(self) -> bool:
        return bool(self.steps) and self.steps[-1].lost

    def _random(self, length: int) -> np.ndarray:
        """Random actions ``(length,)``, each repeated for some steps."""
        runs = self.rng.integers(1, LONGEST_RUN + 1, length)
        return np.repeat(self.rng.integers(len(self.emulator.actions), size=length), runs)[:length]

    def _value(self, steps: list[Step]) -> tuple[float, float]:
        """How long the life is kept, and the discounted rewards."""
        kept = float(len(steps)) if steps[-1].lost else np.inf
        return kept, float(np.dot([step.reward for step in steps], self.weights[: len(steps)]))

    def _improve(self, trials: int) -> None:
        best = self._value(self.steps)
        self.left += trials
        while self.left > 0:
            at = int(self.rng.integers(len(self.steps)))
            actions = self._random(self.horizon - at)
            if self.rng.random() < 0.5:
                first = int(np.argmax(actions != actions[0])) or len(actions)
                old = [step.action for step in self.steps[at + first :]]
                actions = np.concatenate([actions[:first], old, actions[first + len(old) :]]).astype(int)
            tried = self.emulator.steps(*self._after(at), actions)
            self.left -= len(tried)
            steps = self.steps[:at] + tried
            if (value := self._value(steps)) >= best:
                self.steps, best = steps, value
