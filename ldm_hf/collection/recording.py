"""Records episodes of one or more environments in lock step: an actor acts, the reference policy labels every step."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import EnvironmentFailure, NotAMemberError, SpaceMismatchError
from ..references import Reference
from ..rollouts.lane import Lane
from ..rollouts.watching import kept, wrong_member
from ..spaces import Action, Arrays, Observation, flatten, leaves, members_array, stack, unflatten, unstack
from ..trajectories.schema import Episode
from ..utils.parallel import note

RECORDING = "recording"  # what a process is noted to be doing
CALLS = {"observation": "step", "action": "its actor", "label": "its reference policy"}  # where a role comes from


class Members(list[Any]):
    """Members of a space one after another.

    What is appended has to be made by `copied`, since an environment may write the next step into the same arrays.

    Args:
        space: the space.
    """

    def __init__(self, space: gymnasium.Space[object]) -> None:
        super().__init__()
        self._space, self._leaves = space, leaves(space)
        self.copied: Callable[[Any], object] = self._parts if isinstance(space, spaces.Dict | spaces.Tuple) else kept

    def _parts(self, value: Observation | Action) -> dict[str, object]:
        """A copy of each leaf, by path."""
        return {path: kept(part) for path, part in flatten(self._space, value).items()}

    def arrays(self) -> Arrays:
        """The members as arrays, ``{path: (T, *leaf shape)}``.

        Raises:
            NotAMemberError: if one has another shape, or is of a kind that its leaf cannot hold.
        """
        if self.copied is kept:
            return {"": members_array(self._leaves[0], self)}
        return {leaf.path: members_array(leaf, [parts[leaf.path] for parts in self]) for leaf in self._leaves}


class LabelledLane(Lane):
    """A lane, the reference policy that labels its steps, and the episode so far.

    Args:
        env: the environment.
        reference: its reference policy, which belongs to this lane unless it is vectorised.
        name: name of the environment, for messages.

    Attributes:
        rewards: rewards of all steps of the episode.
    """

    def __init__(self, env: gymnasium.Env, reference: Reference, name: str = "environment") -> None:
        super().__init__(env, name, watched=False)  # what is recorded is checked before it is kept
        self.reference = reference

    def begin(self, seed: int) -> None:
        """Begins an episode.

        Raises:
            EnvironmentFailure: if the environment fails.
        """
        self.reward, self.terminated, self.truncated = 0.0, False, False
        self.rewards: list[float] = []
        super().begin(seed)
        # after the reset, in which some environments make new spaces
        self._observations = Members(self.env.observation_space)
        self._actions, self._labels = Members(self.env.action_space), Members(self.env.action_space)
        with self.named(CALLS["label"]):
            self.reference.reset(self.env)

    def label(self) -> Action:
        """The action that the reference would take."""
        try:  # not `named`, which costs a microsecond
            return self.reference.act(self.env, self.observation, self.info)
        except Exception as error:
            self.check()
            self.fail(CALLS["label"], error)

    def check(self) -> None:
        """Compares the current observation with its space, which may be the cause of another's error.

        Raises:
            EnvironmentFailure: if it is no member; names the leaf and the step.
        """
        try:
            space = self.env.observation_space
            parts = flatten(space, self.observation)
            found = [wrong_member(leaf, [parts[leaf.path]]) for leaf in leaves(space)]
            problem = next((text for _, text in filter(None, found)), None)
        except SpaceMismatchError as error:  # a leaf is missing
            problem = str(error)
        if problem is not None:
            text = f"observation of step {len(self.rewards)}: {problem}"
            raise EnvironmentFailure(self.name, CALLS["observation"], text, self.seed)

    def record(self, label: Action, action: Action) -> bool:
        """Executes an action and records the step; returns whether the episode is over.

        Raises:
            EnvironmentFailure: if the environment fails, or gave an observation that lacks a leaf.
        """
        try:
            own = self._labels.copied(label)
            self._labels.append(own)
            if action is not label:
                self.reference.executed(action)
                own = self._actions.copied(action)
            self._actions.append(own)
            self._observations.append(self._observations.copied(self.observation))
        except Exception as error:
            self.check()
            self.fail(f"{CALLS['label']} at step {len(self.rewards)}", error)
        over = self.step(action)
        self.rewards.append(self.reward)
        return over

    def episode(self, behaviour: str) -> Episode:
        """The whole episode.

        Args:
            behaviour: who acted.

        Raises:
            EnvironmentFailure: if a value does not fit its leaf; names role and step.
        """
        ends = np.zeros((2, len(self.rewards)), bool)
        ends[:, -1] = self.terminated, self.truncated
        return {
            "observation": self._arrays("observation", self._observations),
            "action": self._arrays("action", self._actions),
            "label": self._arrays("label", self._labels),
            "reward": np.array(self.rewards, np.float32),
            "terminated": ends[0],
            "truncated": ends[1],
            "seed": self.seed,
            "behaviour": behaviour,
        }

    def _arrays(self, role: str, members: Members) -> Arrays:
        try:
            return members.arrays()
        except NotAMemberError as error:
            text = f"{role} of step {error.index}: {error}"
            raise EnvironmentFailure(self.name, CALLS[role], text, self.seed) from error


class Actor(Protocol):
    """Chooses the executed actions, while the reference labels every step."""

    def begin(self, index: int, lane: LabelledLane) -> str:
        """Prepares for an episode that has begun in lane ``index``.

        The same seed has to bring the same episode.

        Returns:
            What is stored as ``behaviour`` of the episode.
        """

    def act(self, lanes: list[LabelledLane], labels: list[Action]) -> list[Action]:
        """Chooses the actions of all lanes; the label itself (the same object) where the reference acts."""


def record(
    lanes: list[LabelledLane], actor: Actor, seed: int, target: int, skipped: Collection[int] = ()
) -> Iterator[Episode]:
    """Plays whole episodes until they have ``target`` steps.

    Args:
        lanes: environments in lock step.
        actor: chooses the executed actions.
        seed: seed of the first episode.
        target: steps wanted.
        skipped: seeds that are left out.

    Yields:
        Episodes with the seeds ``seed``, ``seed + 1``, ... in this order, however many lanes there are.

    Raises:
        EnvironmentFailure: if an environment or the reference raises an error of its own.
    """
    active: list[int] = []
    idle = list(range(len(lanes)))
    behaviours = [""] * len(lanes)
    labels: list[Action] = [None] * len(lanes)
    finished: dict[int, Episode] = {}  # episodes that wait for an earlier one, by seed
    lengths: list[int] = []  # steps of all finished episodes
    seeds = (following for following in itertools.count(seed) if following not in skipped)
    begun: deque[int] = deque()  # seeds of the episodes that were not yielded yet
    while target > 0:
        while idle and _is_needed(target, len(active), finished, lengths):
            active.append(index := idle.pop(0))
            begun.append(next(seeds))
            note(RECORDING, begun[0])
            lanes[index].begin(begun[-1])
            behaviours[index] = actor.begin(index, lanes[index])
        _label(lanes, active, labels)
        actions = actor.act(lanes, labels)
        for index in [index for index in active if lanes[index].record(labels[index], actions[index])]:
            finished[lanes[index].seed] = lanes[index].episode(behaviours[index])
            lengths.append(len(lanes[index].rewards))
            active.remove(index)
            idle.append(index)
        while target > 0 and begun and begun[0] in finished:  # before another episode begins, which may fail
            episode = finished.pop(begun.popleft())
            target -= len(episode["reward"])
            yield episode


def _is_needed(target: int, active: int, finished: dict[int, Episode], lengths: list[int]) -> bool:
    """Whether to begin another episode, since the active and the waiting ones will probably have too few steps.

    Before the first episode is over, nobody knows how long one is.
    """
    if not lengths or not active:
        return True
    waiting = sum(len(episode["reward"]) for episode in finished.values())
    return waiting + active * sum(lengths) / len(lengths) < target


def _label(lanes: list[LabelledLane], active: list[int], labels: list[Action]) -> None:
    """Sets the labels of the active lanes, by one call where the reference takes several observations."""
    first = lanes[0]
    if len(lanes) == 1 or not first.reference.vectorised:
        for index in active:
            labels[index] = lanes[index].label()
        return
    observation_space, action_space = first.env.observation_space, first.env.action_space
    # all lanes, also those that have nothing left to do, since batches of one size round alike
    observations = unflatten(observation_space, stack(observation_space, [lane.observation for lane in lanes]))
    with first.named(CALLS["label"]):
        labels[:] = unstack(action_space, first.reference.act(first.env, observations, {}), len(lanes))
