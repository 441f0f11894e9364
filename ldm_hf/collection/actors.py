"""Actors of a recording: the reference, disturbed now and then, or a student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import gymnasium
import numpy as np
from gymnasium import spaces

from ..agent import LDMAgent
from ..rollouts.policies import act_together
from ..spaces import Action, flatten, leaves, stack, unflatten
from .recording import LabelledLane

LADDER = (0.0, 0.1, 0.3)  # shares of foreign actions, one an episode in turn
BURST = 3  # mean steps that a foreign action is repeated for: single ones hardly leave the path


def improving(episodes: int) -> tuple[float, ...]:
    """Shares of foreign actions that fall from 1 to 0 within a number of episodes, 2 or more."""
    return tuple(round(1 - number / (episodes - 1), 3) for number in range(episodes))


def _generator(lane: LabelledLane) -> np.random.Generator:
    """The random numbers of an episode beside the environment's, from the same seed."""
    return np.random.default_rng((lane.seed, 1))


class Perturbed:
    """The reference acts, except for short whiles of foreign actions (noise injection, Laskey et al. 2017).

    Args:
        shares: shares of foreign actions, one an episode in turn.
        origin: seed of the episode that gets the first share.
    """

    def __init__(self, shares: Sequence[float] = LADDER, origin: int = 0) -> None:
        self.shares, self.origin = shares, origin
        self.disturbances: dict[int, _Disturbance] = {}

    def begin(self, index: int, lane: LabelledLane) -> str:
        """Begins an episode with the share of foreign actions that its seed gets."""
        share = self.shares[(lane.seed - self.origin) % len(self.shares)]
        self.disturbances[index] = _Disturbance(lane.env.action_space, share, _generator(lane))
        known = {0.0: "clean", 1.0: "random"}
        return known.get(share, f"perturbed-{share}")

    def act(self, lanes: list[LabelledLane], labels: list[Action]) -> list[Action]:
        """Disturbs the labels of all lanes."""
        return [self.disturbances[index].executed(label) for index, label in enumerate(labels)]


class _Disturbance:
    """Disturbs the reference's actions in one episode.

    Args:
        space: action space.
        share: share of foreign actions; with 1, each is drawn for itself.
        rng: random numbers of the episode.
    """

    def __init__(self, space: gymnasium.Space[object], share: float, rng: np.random.Generator) -> None:
        self.space, self.share, self.rng = space, share, rng
        self.seed = int(rng.integers(2**31))
        self.noises = {leaf.path: _Noise(leaf.space, share) for leaf in leaves(space) if _is_noisy(leaf.space)}
        self.foreign: Action = None
        self.remaining = 0

    def executed(self, label: Action) -> Action:
        """The action to execute; the label itself (the same object) where nothing disturbs it."""
        if not self.share:
            return label
        if self.remaining == 0 and (self.share == 1 or self.rng.random() < self.share / BURST):
            if self.foreign is None:  # not before: many episodes are short, and most of them clean
                self.space.seed(self.seed)
            self.foreign = self.space.sample()
            self.remaining = 1 if self.share == 1 else int(self.rng.geometric(1 / BURST))
        if self.remaining:
            self.remaining -= 1
            return self.foreign
        return self._jittered(label) if self.noises else label

    def _jittered(self, action: Action) -> Action:
        """The action with noise on its bounded real numbers."""
        if "" in self.noises:  # nothing to take apart
            return self.noises[""].added_to(action, self.rng)
        parts = flatten(self.space, action)
        noisy = {path: noise.added_to(parts[path], self.rng) for path, noise in self.noises.items()}
        return unflatten(self.space, parts | noisy)


class _Noise:
    """Gaussian noise for one leaf, with a deviation of the share of its half range, within its bounds.

    Args:
        box: space of the leaf.
        share: share of foreign actions.
    """

    def __init__(self, box: spaces.Box, share: float) -> None:
        self.box, self.scale = box, share / 2 * (box.high - box.low)

    def added_to(self, value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The value of the leaf with noise."""
        noisy: np.ndarray = value + self.scale * rng.standard_normal(self.box.shape)
        noisy = np.minimum(np.maximum(noisy, self.box.low), self.box.high)  # a third of what np.clip takes
        return noisy.astype(self.box.dtype)


def _is_noisy(space: gymnasium.Space[object]) -> TypeGuard[spaces.Box]:
    """Whether a leaf is a bounded Box of real numbers."""
    return isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating) and space.is_bounded()


class Student:
    """A model acts; at each step the reference acts in its place with probability ``mix``.

    This is DAgger (Ross et al. 2011, algorithm 3.1). An episode begins with an empty history, so that it follows from
    its seed and an interrupted collection goes on as if nothing had happened. The model sees the actions that were
    executed, whoever chose them.

    Args:
        agent: agent with as many lanes as are recorded.
        mixes: the paper's beta, one an episode in turn: 0 is the model alone, 1 the reference alone.
        origin: seed of the episode that gets the first of them.
    """

    def __init__(self, agent: LDMAgent, mixes: Sequence[float], origin: int = 0) -> None:
        self.agent, self.mixes, self.origin = agent, mixes, origin
        self.episodes: dict[int, tuple[float, np.random.Generator]] = {}

    def begin(self, index: int, lane: LabelledLane) -> str:
        """Begins an episode with an empty history."""
        self.agent.clear([index])
        mix = self.mixes[(lane.seed - self.origin) % len(self.mixes)]
        self.episodes[index] = mix, _generator(lane)
        return f"student-{mix:g}"

    def act(self, lanes: list[LabelledLane], labels: list[Action]) -> list[Action]:
        """The model's actions, or the labels where the reference acts in its place."""
        agent, layout = self.agent, self.agent.layout
        chosen = act_together(agent, layout.observation_space, layout.action_space, list(lanes))
        episodes = (self.episodes[index] for index in range(len(lanes)))
        helped = np.array([rng.random() < mix for mix, rng in episodes])
        choices = zip(helped, labels, chosen, strict=True)
        actions = [label if by_reference else student for by_reference, label, student in choices]
        if helped.any():
            agent.executed(unflatten(layout.action_space, stack(layout.action_space, actions)), helped)
        return actions
