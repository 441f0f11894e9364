"""Who acts while trajectories are recorded: the reference, disturbed now and then, or a student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..agent import LDMAgent
from ..rollouts.policies import act_together
from ..spaces import flatten, leaves, stack, unflatten
from .recording import LabelledLane

LADDER = (0.0, 0.1, 0.3)  # share of foreign actions, one rung an episode in turn
BURST = 3  # mean number of steps that a foreign action is repeated for: single ones hardly leave the path


def _generator(lane: LabelledLane) -> np.random.Generator:
    """What happens beside the environment follows from the seed of the episode, too."""
    return np.random.default_rng((lane.seed, 1))


class Perturbed:
    """The reference, but for short whiles in which foreign actions are executed (noise injection, Laskey et al. 2017).

    Args:
        shares: of foreign actions, one an episode in turn.
        origin: seed of the episode that gets the first share.
    """

    def __init__(self, shares: Sequence[float] = LADDER, origin: int = 0) -> None:
        self.shares, self.origin = shares, origin
        self.disturbances: dict[int, _Disturbance] = {}

    def begin(self, index: int, lane: LabelledLane) -> str:
        share = self.shares[(lane.seed - self.origin) % len(self.shares)]
        self.disturbances[index] = _Disturbance(lane.env.action_space, share, _generator(lane))
        return f"perturbed-{share}" if share else "clean"

    def act(self, lanes: list[LabelledLane], labels: list[Any]) -> list[Any]:
        return [self.disturbances[index].of(label) for index, label in enumerate(labels)]


class _Disturbance:
    """What becomes of the reference's actions in one episode."""

    def __init__(self, space: gymnasium.Space, share: float, rng: np.random.Generator) -> None:
        self.space, self.share, self.rng = space, share, rng
        self.seed = int(rng.integers(2**31))
        self.boxes = {leaf.path: _Noise(leaf.space, share) for leaf in leaves(space) if _is_noisy(leaf.space)}
        self.foreign, self.remaining = None, 0

    def of(self, label: Any) -> Any:
        """The label itself where nothing disturbs it."""
        if not self.share:
            return label
        if self.remaining == 0 and self.rng.random() < self.share / BURST:
            if self.foreign is None:  # not before: many episodes are short, and most of them clean
                self.space.seed(self.seed)
            self.foreign, self.remaining = self.space.sample(), int(self.rng.geometric(1 / BURST))
        if self.remaining:
            self.remaining -= 1
            return self.foreign
        return self._jittered(label) if self.boxes else label

    def _jittered(self, action: Any) -> Any:
        """Noise on the bounded real numbers, as wide as the share of their half range."""
        if "" in self.boxes:  # nothing to take apart
            return self.boxes[""].on(action, self.rng)
        parts = flatten(self.space, action)
        return unflatten(self.space, parts | {path: box.on(parts[path], self.rng) for path, box in self.boxes.items()})


class _Noise:
    """Of one leaf."""

    def __init__(self, box: Any, share: float) -> None:
        self.box, self.scale = box, share / 2 * (box.high - box.low)

    def on(self, value: Any, rng: np.random.Generator) -> np.ndarray:
        noisy = value + self.scale * rng.standard_normal(self.box.shape)
        noisy = np.minimum(np.maximum(noisy, self.box.low), self.box.high)  # a third of what np.clip takes
        return noisy.astype(self.box.dtype)


def _is_noisy(space: gymnasium.Space) -> bool:
    return isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating) and space.is_bounded()


class Student:
    """A model acts; at each step the reference acts in its place with probability ``mix`` (DAgger, Ross et al. 2011, algorithm 3.1).

    An episode begins with an empty history, so that it follows from its seed and an interrupted collection goes on as if nothing had
    happened. The model sees the actions that were executed, whoever chose them.

    Args:
        agent: an `LDMAgent` with as many lanes as are recorded.
        mix: the paper's beta: 0 is the model alone, 1 the reference alone.
    """

    def __init__(self, agent: LDMAgent, mix: float) -> None:
        self.agent, self.mix = agent, mix
        self.generators: dict[int, np.random.Generator] = {}

    def begin(self, index: int, lane: LabelledLane) -> str:
        self.agent.clear([index])
        self.generators[index] = _generator(lane)
        return f"student-{self.mix:g}"

    def act(self, lanes: list[LabelledLane], labels: list[Any]) -> list[Any]:
        agent, layout = self.agent, self.agent.layout
        chosen = act_together(agent, layout.observation_space, layout.action_space, list(lanes))
        helped = np.array([self.generators[index].random() < self.mix for index in range(len(lanes))])
        choices = zip(helped, labels, chosen, strict=True)
        actions = [label if by_reference else own for by_reference, label, own in choices]
        executed = layout.actions.positions(stack(layout.action_space, actions), layout.name, len(lanes))
        agent.state.positions = np.where(helped[:, None], executed, agent.state.positions)
        return actions
