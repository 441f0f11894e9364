"""Policies for Atari games of the Arcade Learning Environment (Bellemare et al. 2013)."""

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


class AtariFreeway(Reference):
    """Always up: crossing at once scores about as well as dodging, since a car only pushes back."""

    name = "atari_freeway"
    method = "scripted"

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(1)


class AtariFreewayCrossing(Reference):
    """Goes up, unless a copy of the emulator shows that a car is met; then waits or steps back if that gets farther.

    Args:
        env: environment like the one that the policy will act in.
        horizon: steps to look ahead, of four frames each.
    """

    name = "atari_freeway_crossing"
    method = "planner"
    PLACE = 14  # address of the height of the chicken (Anand et al. 2019)

    def __init__(self, env: gymnasium.Env, horizon: int = 16) -> None:
        self.horizon = horizon
        self.emulator: Emulator | None = None

    def reset(self, env: gymnasium.Env) -> None:
        self.emulator = Emulator(inside(env), env.get_wrapper_attr("frame_skip"))

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        state = inside(env).ale.cloneState(include_rng=True)
        meanings = inside(env).get_action_meanings()
        up, *others = (meanings.index(meaning) for meaning in ("UP", "NOOP", "DOWN"))
        found = {up: self._reached(state, up, up)}
        if found[up][2]:
            found |= {other: self._reached(state, other, up) for other in others}
        return np.int64(max(found, key=lambda action: found[action][:2]))

    def _reached(self, state: ale_py.ALEState, first: int, up: int) -> tuple[int, int, bool]:
        """Steps that are left after the other side is reached, the height at the end, and whether a car was met."""
        assert self.emulator is not None, "an episode begins with `reset`"
        ale, actions = self.emulator.ale, self.emulator.actions
        ale.restoreState(state)
        height = highest = int(ale.getRAM()[self.PLACE])
        for step in range(self.horizon):
            if ale.act(actions[up if step else first]) > 0:
                return self.horizon - step, 0, False
            height = int(ale.getRAM()[self.PLACE])
            highest = max(highest, height)
        return 0, height, height < highest


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

    def steps(self, state: ale_py.ALEState, actions: np.ndarray) -> list[Step]:
        """Executes actions one after the other from a state; ends with the first that costs a life or ends the game."""
        ale, found = self.ale, list[Step]()
        ale.restoreState(state)
        lives = ale.lives()
        for action in actions:
            reward = ale.act(self.actions[action])
            lost = ale.lives() < lives
            found.append(Step(int(action), reward, lost, ale.cloneState(include_rng=True)))
            if lost or ale.game_over():
                break
        return found


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
        self.steps: list[Step] = []
        self.left = 0  # trials that are allowed, less those of a last attempt that took longer

    def begin(self, state: ale_py.ALEState) -> None:
        """Forgets the plan and makes one from a state, with as many trials as for a whole horizon."""
        self.start = state
        self.steps = self.emulator.steps(state, self._random(self.horizon))
        self._improve(self.horizon * self.trials)

    def next(self, state: ale_py.ALEState) -> int:
        """The action in a state: of the plan, if it has foreseen the state, else of a new one."""
        if self.start is None or not self.start.equals(state):
            self.begin(state)
        else:
            if self.horizon > len(self.steps) and not self._ends():
                last = self.steps[-1].state if self.steps else self.start
                self.steps += self.emulator.steps(last, self._random(self.horizon - len(self.steps)))
            self._improve(self.trials)
            if self._ends():
                self._improve(self.trials * (self.urgent - 1))
        first = self.steps.pop(0)
        self.start = first.state
        return first.action

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
        assert self.start is not None, "`begin` makes the plan"
        best = self._value(self.steps)
        self.left += trials
        while self.left > 0:
            at = int(self.rng.integers(len(self.steps)))
            actions = self._random(self.horizon - at)
            if self.rng.random() < 0.5:
                first = int(np.argmax(actions != actions[0])) or len(actions)
                old = [step.action for step in self.steps[at + first :]]
                actions = np.concatenate([actions[:first], old, actions[first + len(old) :]]).astype(int)
            tried = self.emulator.steps(self.steps[at - 1].state if at else self.start, actions)
            self.left -= len(tried)
            steps = self.steps[:at] + tried
            if (value := self._value(steps)) >= best:
                self.steps, best = steps, value


class AtariLookAhead(Reference):
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
    method = "planner"
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
        self.plan: Plan | None = None
        if not self.fits(env):
            raise LDMError(
                f"{env}: atari_look_ahead plans in a copy of the emulator, and this environment has no `ale` to copy; "
                "use it for rows of ale-py"
            )

    def reset(self, env: gymnasium.Env) -> None:
        emulator = Emulator(inside(env), env.get_wrapper_attr("frame_skip"))
        rng = np.random.default_rng(self.seed)
        self.plan = Plan(emulator, self.horizon, self.trials, self.urgent, self.discount, rng)

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        assert self.plan is not None, "an episode begins with `reset`"
        return np.int64(self.plan.next(inside(env).ale.cloneState(include_rng=True)))


class AtariRule(Reference):
    """A rule by bytes of the console's memory, whose addresses are from Anand et al. 2019 (arXiv 1906.08226)."""

    method = "scripted"
    before: np.ndarray | None = None

    def reset(self, env: gymnasium.Env) -> None:
        self.before = None

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        memory = inside(env).ale.getRAM().astype(int)
        before, self.before = self.before, memory
        meaning = self.choose(memory, memory if before is None else before)
        return np.int64(inside(env).get_action_meanings().index(meaning))

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        """Meaning of the action, by the memory ``(128,)`` now and a step ago."""
        raise NotImplementedError


def reflected(place: float, low: float, high: float) -> float:
    """Where something is that would be at ``place``, had it not been reflected by the walls at ``low`` and ``high``."""
    size = high - low
    return low + abs((place - low + size) % (2 * size) - size)


class AtariPong(AtariRule):
    """Meets the ball where its path, with its reflections, crosses the paddle's column; hits it above the middle.

    A step moves the paddle by 21, so that it stands still where it would come no nearer.
    """

    name = "atari_pong"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        x, y, paddle = memory[[49, 54, 51]]
        target = y
        if before[54] == 0 or y == 0:
            target = 128
        elif (speed := x - before[49]) > 0:
            target = reflected(y + (y - before[54]) * max(0, 188 - x) / speed, 46, 206)
        way = target - (paddle + (paddle - before[51]) + 3)  # where the paddle will be after another step
        return "NOOP" if abs(way) <= 10 else "LEFT" if way > 0 else "RIGHT"


class AtariBreakout(AtariRule):
    """Serves, and waits where the ball will come down after its reflections."""

    name = "atari_breakout"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        x, y, paddle = memory[[99, 101, 72]]
        if y == 0:
            return "FIRE"
        target, speed = x, y - before[101]
        if speed > 0 and before[101]:
            target = reflected(x + (x - before[99]) * max(0, 180 - y) / speed, 57, 199)
        way = target - (paddle + (paddle - before[72]) + 10)  # where the paddle will be after another step
        return "NOOP" if abs(way) <= 4 else "RIGHT" if way > 0 else "LEFT"


class AtariSkiing(AtariRule):
    """Turns towards the middle of the next gate, the more the farther it is to the side."""

    name = "atari_skiing"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        heights, places, kinds = memory[86:94], memory[62:70], memory[70:78]
        ahead = (kinds == 2) & (heights < 135)
        if not ahead.any():
            return "NOOP"
        side = places[ahead][heights[ahead].argmax()] + 12 - memory[25]
        turn = 8 + np.clip(side / 3, -6, 6) - memory[15]  # 8 is straight down
        return "NOOP" if abs(turn) < 0.75 else "RIGHT" if turn > 0 else "LEFT"


class AtariBowling(AtariRule):
    """Throws from the one row from which a curve just before the pins fells all of them."""

    name = "atari_bowling"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        phase, column, row, ball = memory[[13, 29, 40, 30]]
        if phase == 0 and column <= 8:  # before the throw
            return "FIRE" if row == 12 else "UP" if row < 12 else "DOWN"
        return "UP" if phase >= 5 and ball >= 118 else "NOOP"


class AtariAtlantis(Reference):
    """Fires the three cannons in turn, whose shots cross what flies over the city."""

    name = "atari_atlantis"
    method = "scripted"
    steps = 0

    def reset(self, env: gymnasium.Env) -> None:
        self.steps = 0

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        meaning = ("FIRE", "NOOP", "LEFTFIRE", "NOOP", "RIGHTFIRE", "NOOP")[self.steps % 6]
        self.steps += 1
        return np.int64(inside(env).get_action_meanings().index(meaning))
