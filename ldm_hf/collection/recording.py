"""Records episodes of one or more environments in lock step: an actor acts, the reference policy labels every step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import LDMError
from ..references import Reference
from ..rollouts.lane import Lane
from ..spaces import flatten, leaf_array, leaves, stack, unflatten, unstack

CONSTANT = (np.generic, int, str)  # not written as a union, which would be built in every step


class Members:
    """Members of a space one after another, as copies, since an environment may write what comes next into the same arrays."""

    def __init__(self, space: gymnasium.Space) -> None:
        self._space, self._leaves = space, leaves(space)
        self._kept: list[Any] = []
        self.add = self._kept.append  # what `copy` has made
        self.copy: Callable[[Any], Any] = self._apart if isinstance(space, spaces.Dict | spaces.Tuple) else _copy

    def _apart(self, value: Any) -> dict[str, Any]:
        return {path: _copy(part) for path, part in flatten(self._space, value).items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """``{path: (T, *leaf shape)}``."""
        if self.copy is _copy:
            return {"": leaf_array(self._space, self._kept)}
        return {leaf.path: leaf_array(leaf.space, [parts[leaf.path] for parts in self._kept]) for leaf in self._leaves}


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return value if isinstance(value, CONSTANT) else copy.deepcopy(value)


class LabelledLane(Lane):
    """A lane, the reference that labels what happens in it, and the episode so far.

    Args:
        env: the environment.
        reference: its reference policy, which belongs to this lane unless it is vectorised.
        name: of the environment, for messages.

    Attributes:
        rewards: of all steps of the episode.
    """

    def __init__(self, env: gymnasium.Env, reference: Reference, name: str = "environment") -> None:
        super().__init__(env, name)
        self.reference = reference

    def begin(self, seed: int) -> None:
        """Begins an episode, of which nothing is known but its first observation.

        Raises:
            EnvironmentFailure: if the environment fails.
        """
        self.reward, self.terminated, self.truncated = 0.0, False, False
        self.rewards: list[float] = []
        super().begin(seed)
        # after the reset: some environments make their spaces anew in it
        self._observations = Members(self.env.observation_space)
        self._actions, self._labels = Members(self.env.action_space), Members(self.env.action_space)
        with self.named("its reference policy"):
            self.reference.reset(self.env)

    def label(self) -> Any:
        """What the reference would do."""
        try:  # not `named`, which costs a microsecond
            return self.reference.act(self.env, self.observation, self.info)
        except LDMError:
            raise
        except Exception as error:
            raise self.failure("its reference policy", error) from error

    def record(self, label: Any, action: Any) -> bool:
        """Executes an action and records the step; says whether the episode is over."""
        kept = self._labels.copy(label)
        self._labels.add(kept)
        if action is not label:
            self.reference.executed(action)
            kept = self._actions.copy(action)
        self._actions.add(kept)
        self._observations.add(self._observations.copy(self.observation))
        over = self.step(action)
        self.rewards.append(self.reward)
        return over

    def episode(self) -> dict[str, Any]:
        """The whole episode as `TrajectoryWriter.write` takes it, but for its behaviour."""
        ends = np.zeros((2, len(self.rewards)), bool)
        ends[:, -1] = self.terminated, self.truncated
        return {
            "observation": self._observations.arrays(),
            "action": self._actions.arrays(),
            "label": self._labels.arrays(),
            "reward": np.array(self.rewards, np.float32),
            "terminated": ends[0],
            "truncated": ends[1],
            "seed": self.seed,
        }


class Actor(Protocol):
    """Who acts while the reference labels."""

    def begin(self, index: int, lane: LabelledLane) -> str:
        """An episode begins in lane ``index``; returns what is stored as its ``behaviour``. The same seed brings the same episode."""

    def act(self, lanes: list[LabelledLane], labels: list[Any]) -> list[Any]:
        """Actions of all lanes; the label itself where the reference acts."""


def record(lanes: list[LabelledLane], actor: Actor, seed: int, target: int) -> Iterator[dict[str, Any]]:
    """Plays whole episodes until they have ``target`` steps.

    Args:
        lanes: environments in lock step.
        actor: who acts.
        seed: of the first episode.
        target: steps wanted.

    Yields:
        Episodes as `TrajectoryWriter.write` takes them. They have the seeds ``seed``, ``seed + 1``, ... and come in this order, however many
        lanes there are.

    Raises:
        EnvironmentFailure: if an environment or the reference raises an error of its own.
    """
    active: list[int] = []
    idle = list(range(len(lanes)))
    behaviours, labels = [""] * len(lanes), [None] * len(lanes)
    finished: dict[int, dict[str, Any]] = {}
    lengths: list[int] = []  # of all that are over
    following, due = seed, seed  # next to begin, next to hand out
    while target > 0:
        while idle and _is_needed(target, len(active), finished, lengths):
            active.append(index := idle.pop(0))
            lanes[index].begin(following)
            behaviours[index] = actor.begin(index, lanes[index])
            following += 1
        _label(lanes, active, labels)
        actions = actor.act(lanes, labels)
        for index in [index for index in active if lanes[index].record(labels[index], actions[index])]:
            finished[lanes[index].seed] = lanes[index].episode() | {"behaviour": behaviours[index]}
            lengths.append(len(lanes[index].rewards))
            active.remove(index)
            idle.append(index)
        while target > 0 and due in finished:  # before another episode begins, which may fail
            episode = finished.pop(due)
            due, target = due + 1, target - len(episode["reward"])
            yield episode


def _is_needed(target: int, running: int, finished: dict[int, dict[str, Any]], lengths: list[int]) -> bool:
    """Will those that run or wait to be handed out probably have too few steps? At first nobody knows how long an episode is."""
    if not lengths or not running:
        return True
    waiting = sum(len(episode["reward"]) for episode in finished.values())
    return waiting + running * sum(lengths) / len(lengths) < target


def _label(lanes: list[LabelledLane], active: list[int], labels: list[Any]) -> None:
    """The reference's actions in the active lanes; by one call where it takes several observations."""
    first = lanes[0]
    if len(lanes) == 1 or not first.reference.vectorised:
        for index in active:
            labels[index] = lanes[index].label()
        return
    observation_space, action_space = first.env.observation_space, first.env.action_space
    # of all lanes, also those that have nothing left to do, since batches of one size round alike
    observations = unflatten(observation_space, stack(observation_space, [lane.observation for lane in lanes]))
    with first.named("its reference policy"):
        labels[:] = unstack(action_space, first.reference.act(first.env, observations, {}), len(lanes))
