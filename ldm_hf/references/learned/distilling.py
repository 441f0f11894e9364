"""Distils a planner into a network by dataset aggregation (DAgger; Ross et al. 2011, arXiv 1011.0686)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch.nn.functional import mse_loss

from ...environments import EnvironmentSpec, make
from ...environments.isolation import is_isolated
from ...errors import LDMError
from ...rollouts.lane import open_lane
from ...utils.guarding import close
from ..base import Reference
from ..loading import known_policies, policy_of
from ..sampling import PredictiveSampling
from .algorithms import Configuration, policy_class
from .policy import CLIP, ReinforcementLearned
from .spaces import Adapter

CHUNK = 50  # steps between two trainings
ALONE = 2000  # labels after which the network acts alone; before, the planner acts in its place now and then


class Distillation:
    """A network that learns what a planner would do in the states which the network itself gets into.

    A plan takes milliseconds, and its neighbours differ; a network's answer takes microseconds, and is smooth: it is
    what collects trajectories, so that a model can imitate it.

    Args:
        spec: row of the catalogue.
        adapter: adapter of the environment.
        settings: widths of the hidden layers (``net_arch``), ``learning_rate``, ``batch_size``, and ``passes`` through
            batches for each new label.
        seed: seed of the network and of the episodes.

    Attributes:
        steps: number of labelled steps so far.
    """

    def __init__(self, spec: EnvironmentSpec, adapter: Adapter, settings: Configuration, seed: int) -> None:
        self.spec, self.adapter, self.settings = spec, adapter, settings
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        build = policy_class("distilled", adapter.image)
        self.policy: Any = build(
            adapter.observation_space, adapter.action_space, lambda _: 0.0, net_arch=settings["net_arch"]
        )
        self.optimiser = torch.optim.Adam(self.policy.parameters(), lr=settings["learning_rate"])
        self.planned = make(spec)  # the planner's own
        self.teacher = teacher_of(spec, self.planned)
        self.lane = open_lane(lambda: make(spec), spec.name)
        self.seen: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.over = True

    @property
    def steps(self) -> int:
        return len(self.labels)

    def learn(self) -> None:
        """Plays and labels a few steps, then trains on all labels so far."""
        student = self.reference() if self.labels else None
        for _ in range(CHUNK):
            if self.over:
                self.lane.begin(int(self.rng.integers(2**31)))
                self.teacher.reset(self.lane.env)
            lane = self.lane
            label = self.teacher.act(lane.env, lane.observation, lane.info)
            self.seen.append(np.asarray(self.adapter.observation(lane.observation), np.float32))
            self.labels.append(self.adapter.chosen(label))
            action = label
            if student is not None and self.rng.random() < len(self.labels) / ALONE:
                action = student.act(lane.env, lane.observation, lane.info)
                self.teacher.executed(action)
            self.over = lane.step(action)
        self._train()

    def _train(self) -> None:
        seen, labels = self._standard(np.stack(self.seen)), np.stack(self.labels)
        size = self.settings["batch_size"]
        self.policy.set_training_mode(True)
        for _ in range(max(1, round(self.settings["passes"] * CHUNK / size * np.sqrt(len(labels) / CHUNK)))):
            rows = self.rng.integers(len(labels), size=size)
            loss = self._loss(torch.from_numpy(seen[rows]), torch.from_numpy(labels[rows]))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()

    def _loss(self, seen: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        found = self.policy.get_distribution(seen).distribution
        if isinstance(space := self.adapter.action_space, spaces.Box):
            scale = torch.from_numpy(np.maximum((space.high - space.low) / 2, 1e-6).astype(np.float32).ravel())
            return mse_loss(found.mean / scale, labels.reshape(found.mean.shape) / scale)
        parts = zip(found if isinstance(found, list) else [found], labels.reshape(len(labels), -1).T, strict=True)
        return -torch.stack([part.log_prob(column).mean() for part, column in parts]).mean()

    def _statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the observations; infinite where they never changed."""
        seen = np.stack(self.seen)
        deviation = seen.std(0)
        return seen.mean(0), np.where(deviation > 1e-6, deviation, np.float32(np.inf))

    def _standard(self, seen: np.ndarray) -> np.ndarray:
        if self.adapter.image:
            return seen
        mean, deviation = self._statistics()
        standard: np.ndarray = np.clip((seen - mean) / deviation, -CLIP, CLIP)
        return standard

    def reference(self) -> ReinforcementLearned:
        self.policy.set_training_mode(False)
        statistics = (None, None) if self.adapter.image else self._statistics()
        return ReinforcementLearned(self.policy, self.adapter, *statistics)

    def close(self) -> None:
        self.lane.close()
        close(self.planned, self.spec.name)


def teacher_of(spec: EnvironmentSpec, env: gymnasium.Env) -> Reference:
    """The planner to be distilled: what the row names, else one that fits, else `PredictiveSampling`.

    Args:
        spec: row of the catalogue.
        env: environment of the row, for the planner alone.

    Raises:
        LDMError: if no planner fits, or the library runs in a process of its own, where a planner cannot look into it.
    """
    if is_isolated(spec.library):
        raise LDMError(
            f"{spec.name}: {spec.library} runs in a process of its own, and a planner to be distilled has to look into "
            "the environment; choose another algorithm"
        )
    named = spec.reference if spec.reference not in (None, "rl") else None
    fitting = (name for name, policy in known_policies().items() if policy.method == "planner" and policy.fits(env))
    name = named or next(fitting, PredictiveSampling.name)
    return policy_of(spec.name, str(name))(env, **(spec.reference_kwargs if named else {}))
