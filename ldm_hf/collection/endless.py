"""Histories in endless worlds, generated when they are asked for: no world is met twice, and nothing is stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..environments import EnvironmentSpec, make
from ..environments.specs import endless, numbered
from ..references.loading import policy_of
from ..spaces import Space, Steps
from ..trajectories.schema import Episode
from ..trajectories.selection import joined
from .actors import Perturbed, improving
from .recording import LabelledLane

STEPS = 2**40  # of all histories of a kind: more than a run sees
EPISODES = (2, 9)  # bounds of the number of episodes within which the behaviour improves


@dataclass(frozen=True)
class History:
    """The beginning of a stream in one world.

    Args:
        observation_space: observation space of the world.
        action_space: action space of the world.
        steps: the steps.
    """

    observation_space: Space
    action_space: Space
    steps: Steps


class EndlessWorlds:
    """The worlds of an endless row of a library, such as ``RandomWorlds-maze``, as the source of a training's segments.

    Each world has a history of one segment. It is what ``ldm collect --improving`` would record there: random actions
    in the first episode, in each following one more of the reference's, and the reference's as labels of all steps.

    Args:
        row: the endless row.
        segment: steps of a history.

    Attributes:
        info: the row.
        num_steps: steps of all histories together, as `WindowSampler` asks for them.
        policy: class of the reference.

    Example:
        >>> worlds = EndlessWorlds(endless()["RandomWorlds-maze"], segment=128)
        >>> len(worlds.history(128 * 5).steps["reward"])  # of world 5
        128
    """

    def __init__(self, row: EnvironmentSpec, segment: int) -> None:
        self.info, self.segment, self.num_steps = row, segment, STEPS
        self.policy = policy_of(row.name, str(row.reference))  # before workers are forked, which share the import

    def history(self, step: int) -> History:
        """The history that has this step of all histories; it depends on the row, the number and the segment alone."""
        number = step // self.segment
        spec, rng = numbered(self.info, number), np.random.default_rng((number, *self.info.name.encode()))
        env, seed = make(spec), int(rng.integers(2**31))
        lane = LabelledLane(env, self.policy(env, **spec.reference_kwargs), spec.name)
        actor = Perturbed(improving(int(rng.integers(*EPISODES))), seed)
        episodes: list[Episode] = []
        left = self.segment
        while left:
            lane.begin(seed + len(episodes))
            behaviour, over = actor.begin(0, lane), False
            while left and not over:
                label = lane.label()
                over = lane.record(label, actor.act([lane], [label])[0])
                left -= 1
            episodes.append(lane.episode(behaviour))
        lane.close()
        return History(env.observation_space, env.action_space, joined(episodes))


def endless_worlds(segment: int) -> dict[str, EndlessWorlds]:
    """The worlds of all endless rows, by the name of the row."""
    return {name: EndlessWorlds(row, segment) for name, row in endless().items()}
