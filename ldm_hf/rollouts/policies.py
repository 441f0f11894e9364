"""Policies of a roll-out: random actions, a reference policy, an agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from ..spaces import Action, Info, Space, stack, unflatten, unstack
from .lane import Lane


class Policy(Protocol):
    """A policy that `rollout` can measure."""

    def start(self, lanes: list[Lane]) -> None:
        """Is called when a roll-out begins in these ``N`` lanes."""

    def begin(self, index: int, lane: Lane) -> None:
        """Is called when an episode begins in lane ``index``."""

    def act(self, lanes: list[Lane]) -> list[Action]:
        """Chooses an action for each of the ``N`` lanes."""


class RandomPolicy:
    """Samples uniformly from the action space, or from the legal actions if there is an ``info["action_mask"]``."""

    def start(self, lanes: list[Lane]) -> None: ...

    def begin(self, index: int, lane: Lane) -> None:
        # Not the seed itself: the environment's generator has it, and actions would correlate with its random numbers.
        lane.env.action_space.seed(int(np.random.SeedSequence([lane.seed, 1]).generate_state(1)[0]))

    def act(self, lanes: list[Lane]) -> list[Action]:
        return [lane.env.action_space.sample(_sampling_mask(lane.env.action_space, lane.info)) for lane in lanes]


class ReferencePolicy:
    """A task-specific reference policy, one object per lane since references may keep plans.

    Args:
        make_reference: function that makes a `Reference`.
    """

    def __init__(self, make_reference: Callable[[], Any]) -> None:
        self.make_reference = make_reference

    def start(self, lanes: list[Lane]) -> None:
        self.references = [self.make_reference() for _ in lanes]
        self.actions: list[Action] = [None] * len(lanes)

    def begin(self, index: int, lane: Lane) -> None:
        self.references[index].reset(lane.env)

    def act(self, lanes: list[Lane]) -> list[Action]:
        for index, lane in enumerate(lanes):
            if lane.active:
                self.actions[index] = self.references[index].act(lane.env, lane.observation, lane.info)
        return list(self.actions)


class AgentPolicy:
    """An `LDMAgent`, with one forward pass per step for all lanes. Its history goes on across the episodes of a lane.

    Args:
        make_agent: function that makes the agent from ``(observation_space, action_space)`` and the number of lanes.
    """

    def __init__(self, make_agent: Callable[[tuple[Space, Space], int], Any]) -> None:
        self.make_agent = make_agent

    def start(self, lanes: list[Lane]) -> None:
        self.spaces = lanes[0].env.observation_space, lanes[0].env.action_space
        self.agent = self.make_agent(self.spaces, len(lanes))

    def begin(self, index: int, lane: Lane) -> None: ...

    def act(self, lanes: list[Lane]) -> list[Action]:
        return act_together(self.agent, *self.spaces, lanes)


def act_together(agent: Any, observation_space: Space, action_space: Space, lanes: list[Lane]) -> list[Action]:
    """Chooses an agent's actions in all lanes by one forward pass.

    The agent ignores reward and flags of a lane before its first step.
    """
    observation = unflatten(observation_space, stack(observation_space, [lane.observation for lane in lanes]))
    feedback = (np.array([getattr(lane, field) for lane in lanes]) for field in ("reward", "terminated", "truncated"))
    actions = agent.act(observation, *feedback, batched_mask([lane.info for lane in lanes]))
    return unstack(action_space, actions, len(lanes))


def _sampling_mask(space: Space, info: Info) -> np.ndarray | tuple[np.ndarray, ...] | None:
    """``info["action_mask"]`` in the form and dtype that ``space.sample`` asks for; None where there is none."""
    mask = info.get("action_mask")
    if mask is None or not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return None
    return tuple(np.asarray(part, np.int8) for part in mask) if isinstance(mask, tuple) else np.asarray(mask, np.int8)


def batched_mask(infos: list[Info]) -> Info | None:
    """The lanes' action masks as ``{"action_mask": (N, choices)}``; None unless all lanes have one."""
    masks = [info.get("action_mask") for info in infos]
    if any(mask is None for mask in masks):
        return None
    parts = [mask if isinstance(mask, tuple) else (mask,) for mask in masks]
    return {"action_mask": np.stack([np.concatenate([np.ravel(part) for part in row]) for row in parts])}
