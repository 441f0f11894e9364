"""The base class of importers: a source of episodes in the format of another tool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NotRequired, TypedDict

import gymnasium
import numpy as np

from ..errors import DatasetError, LDMError
from ..spaces import Action, Observation
from ..trajectories.schema import Facts
from .arrays import flags
from .report import Report

Spaces = tuple[gymnasium.Space[object], gymnasium.Space[object]]
"""Observation and action space."""


class LoggedEpisode(TypedDict):
    """An episode as a source yields it.

    Attributes:
        observation: member of the observation space with T steps in front, ``(T, *shape)`` in every leaf.
        action: member of the action space with T steps in front.
        reward: rewards ``(T,)``.
        terminated: termination flags ``(T,)``.
        truncated: truncation flags ``(T,)``.
        behaviour: who acted, where the source says so.
        seed: seed that the environment was reset with, where the source says so.
        entity: which of several independent sequences the episode is of, where the source says so.
        time: time of the first step, as text, where the source says so.
    """

    observation: Observation
    action: Action
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    behaviour: NotRequired[str]
    seed: NotRequired[int]
    entity: NotRequired[str]
    time: NotRequired[str]


class Source(ABC):
    """Episodes of one environment, always in the same order, so that an interrupted import can go on.

    Attributes:
        observation_space: observation space of the environment.
        action_space: action space of the environment.
        num_episodes: number of episodes that `episodes` yields from 0 on.
        description: what the format says about the environment, at least its ``name``.
        origin: JSON values that identify the data by their content; an import is only continued with the same.
    """

    observation_space: gymnasium.Space[object]
    action_space: gymnasium.Space[object]
    num_episodes: int
    description: Facts
    origin: dict[str, object]

    @cached_property
    def report(self) -> Report:
        """How the data were read."""
        return Report()

    @abstractmethod
    def episodes(self, start: int = 0) -> Iterator[LoggedEpisode]:
        """Yields the episodes from number ``start`` on.

        Raises:
            DatasetError: if the source is damaged; names the episode.
        """


def existing(path: str | Path) -> Path:
    """The path of a file or folder, with ``~`` replaced.

    Raises:
        DatasetError: if it does not exist.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise DatasetError(f"there is no {found}.")
    return found


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Turns what libraries raise for damaged data into one sentence that names the place.

    Raises:
        DatasetError: for any error of a library that reads.
    """
    try:
        yield
    except (LDMError, MemoryError):
        raise
    except Exception as error:
        problem = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no reason given"
        raise DatasetError(
            f"{place} cannot be read ({type(error).__name__}: {problem}); is it whole, and of this format?"
        ) from error


def logged_episode(observation: Observation, action: Action, reward: np.ndarray, terminated: bool) -> LoggedEpisode:
    """An episode that ends with its last step; if it is not ``terminated``, it counts as truncated."""
    last = np.arange(len(reward)) == len(reward) - 1
    return {
        "observation": observation,
        "action": action,
        "reward": reward,
        "terminated": last & terminated,
        "truncated": last & (not terminated),
    }


def done_at_the_end(done: object, where: str) -> bool:
    """Whether the last step of an episode is done.

    Args:
        done: flags of all steps.
        where: name of the episode, for messages.

    Raises:
        DatasetError: if an earlier step is done, which would be two episodes in one.
    """
    known = flags(done, where)
    if known[:-1].any():
        raise DatasetError(
            f"{where}: step {int(np.flatnonzero(known)[0])} of {len(known)} is done already, and the episode goes on; "
            "cut it there."
        )
    return bool(len(known) and known[-1])
