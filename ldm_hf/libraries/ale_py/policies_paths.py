"""Policies that search a path to the next reward in a copy of the emulator, and rules that follow a known path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from ldm_hf.references.base import inside

from .policies_emulator import LONGEST_RUN, AtariPlanner, Emulator, Step, needs_emulator
from .policies_rules import AtariRule

if TYPE_CHECKING:
    import ale_py

SURVIVED = 24
"""Steps for which a life must be kept, in one of some attempts, after a reward that counts as found."""

ATTEMPTS = 4


@dataclass
class Place:
    """A place that a search has reached, how, and how often it has gone on from there."""

    state: ale_py.ALEState
    actions: list[int]
    visits: int = 0


class Search:
    """A search for the next reward that remembers one state for each place that it has reached.

    As in the first phase of Go-Explore (Ecoffet et al. 2021, "First return, then explore"): it returns to a place from
    which it has seldom gone on, by restoring the state, and goes on with random actions, each for a random number of
    steps. Bytes of the memory tell places apart, divided by sizes of their own. It ends with the first reward after
    which the life can be kept for some time; neither a life nor a reward may be lost on the way.

    Args:
        emulator: where actions are tried.
        places: address in the memory, and the size of the steps in which its value counts.
        actions: indices of the actions that are tried.
        length: steps for which it goes on from a place, on average.
        rng: source of randomness.
    """

    def __init__(
        self,
        emulator: Emulator,
        places: Sequence[tuple[int, int]],
        actions: Sequence[int],
        length: int,
        rng: np.random.Generator,
    ) -> None:
        self.emulator, self.length, self.rng = emulator, length, rng
        self.addresses, self.sizes = np.array(places).T
        self.actions = np.array(actions)
        self.left = 0

    def find(self, state: ale_py.ALEState, last: int, trials: int) -> list[int]:
        """Actions from a state to a reward; none if ``trials`` steps find none. `left` is what is left of them.

        Args:
            state: state to begin with.
            last: index of the action before it.
            trials: steps in the emulator.
        """
        ale, self.left = self.emulator.ale, trials
        ale.restoreState(state)
        lives = ale.lives()
        known = {self._place(): Place(state, [])}
        while self.left > 0:
            place = self._choose(list(known.values()))
            place.visits += 1
            actions = list(place.actions)
            self.emulator.restore(place.state, actions[-1] if actions else last)
            for action in self._random(int(self.rng.geometric(1 / self.length))):
                reward = ale.act(self.emulator.actions[action])
                actions.append(int(action))
                self.left -= 1
                if reward < 0 or ale.lives() < lives or ale.game_over():
                    break
                if reward > 0 and self._safe(ale.cloneState(include_rng=True), actions[-1]):
                    return actions
                here = self._place()
                if here not in known or len(actions) < len(known[here].actions):
                    visits = known[here].visits if here in known else 0
                    known[here] = Place(ale.cloneState(include_rng=True), list(actions), visits)
        return []

    def _place(self) -> bytes:
        return bytes(self.emulator.ale.getRAM()[self.addresses] // self.sizes)

    def _choose(self, places: list[Place]) -> Place:
        weights = np.array([1 / (1 + place.visits) ** 2 for place in places])
        return places[int(self.rng.choice(len(places), p=weights / weights.sum()))]

    def _random(self, length: int) -> np.ndarray:
        """Random actions ``(length,)``, each repeated for some steps."""
        runs = self.rng.integers(1, LONGEST_RUN + 1, length)
        return np.repeat(self.rng.choice(self.actions, length), runs)[:length]

    def _safe(self, state: ale_py.ALEState, last: int) -> bool:
        """Whether one of some random attempts keeps the life; the emulator is in the same state afterwards."""
        for _ in range(ATTEMPTS):
            safe = self._survives()
            self.emulator.restore(state, last)
            if safe:
                return True
        return False

    def _survives(self) -> bool:
        """Whether some random actions keep the life."""
        ale = self.emulator.ale
        lives = ale.lives()
        for action in self._random(SURVIVED):
            ale.act(self.emulator.actions[action])
            self.left -= 1
            if ale.lives() < lives or ale.game_over():
                break
        return bool(ale.lives() >= lives)


class AtariSearch(AtariPlanner):
    """Searches a path to the next reward in a copy of the emulator, follows it, and searches again; then rests.

    The addresses that rows name are from Anand et al. 2019 and OCAtari (Delfosse et al. 2024); those of Ice Hockey
    (puck and player) and Tutankham (player) were found by comparing the memory with the picture and after actions.
    A step is either nearly free or a whole search, which takes up to minutes; also after an action other than its own.

    Args:
        env: environment like the one that the policy will act in.
        places: address in the console's memory, and the size of the steps in which its value counts, for all that
            tells one place from another, see `Search`.
        actions: meanings of the actions that are tried; all, if there are none.
        trials: steps in the emulator that an episode may cost.
        patience: steps in the emulator that one search may cost; all of an episode, if it is None.
        length: steps for which a search goes on from a place, on average.
        rest: meaning of the action once the trials are spent, and for some steps after a search that found nothing.
        seed: seed of the random actions.

    Raises:
        LDMError: if the environment has no emulator to copy.
    """

    name = "atari_search"

    def __init__(
        self,
        env: gymnasium.Env,
        places: Sequence[tuple[int, int]],
        actions: Sequence[str] = (),
        trials: int = 100_000,
        patience: int | None = None,
        length: int = 24,
        rest: str = "NOOP",
        seed: int = 0,
    ) -> None:
        needs_emulator(env)
        meanings = inside(env).get_action_meanings()
        self.places, self.actions = places, [meanings.index(action) for action in actions or meanings]
        self.trials, self.patience = trials, trials if patience is None else patience
        self.length, self.rest, self.seed = length, int(meanings.index(rest)), seed

    def reset(self, env: gymnasium.Env) -> None:
        super().reset(env)
        self.search = Search(self.emulator, self.places, self.actions, self.length, self.rng)
        self.steps: list[Step] = []
        self.start: ale_py.ALEState | None = None
        self.left, self.pause = self.trials, 0

    def decide(self, ale: ale_py.ALEInterface) -> int:
        if not self.steps and (self.left <= 0 or self.pause > 0):
            self.pause -= 1
            return self.rest
        state = ale.cloneState(include_rng=True)
        if not self.steps or self.start is None or not state.equals(self.start):
            self.steps = self._found(state)
            if not self.steps:
                return self.rest
        step = self.steps.pop(0)
        self.start = step.state
        return step.action

    def _found(self, state: ale_py.ALEState) -> list[Step]:
        """Steps from a state to the next reward, if one is found."""
        allowed = min(self.left, self.patience)
        actions = self.search.find(state, self.last, allowed)
        self.left -= allowed - self.search.left
        self.pause = 0 if actions else SURVIVED
        return self.emulator.steps(state, self.last, np.array(actions))


class AtariPrivateEye(AtariRule):
    """Drives to the left, jumps at whoever looks out of a window, and goes on to the first barrier, where it stays.

    It solves no case. Who may look out of a window is from OCAtari (Delfosse et al. 2024, `ocatari/ram/privateeye.py`).
    """

    name = "atari_private_eye"
    WINDOWS = (30, 31)  # of what is seen at the house, with a question mark and without

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        car, seen, place = memory[[63, 43, 49]]
        ahead = car - (place + 15)
        return "LEFTFIRE" if seen in self.WINDOWS and 24 <= ahead <= 48 else "LEFT"


class AtariPitfall(AtariRule):
    """Does nothing, which costs no points where the game begins; the nearest treasure is six screens away."""

    name = "atari_pitfall"

    def choose(self, memory: np.ndarray, before: np.ndarray) -> str:
        return "NOOP"
