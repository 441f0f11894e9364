"""Distils a planner into a network by dataset aggregation (DAgger; Ross et al. 2011, arXiv 1011.0686)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from safetensors.numpy import load_file
from torch.nn.functional import mse_loss

from ...environments import EnvironmentSpec, make
from ...environments.isolation import is_isolated
from ...errors import LDMError
from ...rollouts.lane import open_lane
from ...utils.guarding import close
from ..base import Reference
from ..loading import known_policies, policy_of
from ..sampling import PredictiveSampling
from .algorithms import Configuration, new_network
from .policy import CLIP, ReinforcementLearned
from .spaces import Adapter
from .states import LABELS, SAVING_SECONDS, reading, save_state

CHUNK = 50  # steps between two trainings
ALONE = 2000  # labels after which the network acts alone; before, the planner acts in its place now and then


class Distillation:
    """A network that learns what a planner would do in the states which the network itself gets into.

    A plan takes milliseconds, and its neighbours differ; a network's answer takes microseconds, and is smooth: it is
    what collects trajectories, so that a model can imitate it.

    Labels are kept in a file, with the network: an interrupted distillation asks for none of them again. All else
    follows from the seed and the number of labels, but an episode that was interrupted is not played on.

    Args:
        spec: row of the catalogue.
        adapter: adapter of the environment.
        settings: widths of the hidden layers (``net_arch``), ``learning_rate``, ``batch_size``, and ``passes`` through
            batches for each new label.
        seed: seed of the network and of the episodes.
        place: folder of the policy, which keeps the labels until the training ends.

    Attributes:
        steps: number of labelled steps so far.

    Raises:
        CheckpointError: if the labels in the folder are damaged or are those of another network.
    """

    def __init__(
        self, spec: EnvironmentSpec, adapter: Adapter, settings: Configuration, seed: int, place: Path
    ) -> None:
        self.spec, self.adapter, self.settings, self.seed, self.path = spec, adapter, settings, seed, place / LABELS
        torch.manual_seed(seed)
        self.policy: Any = new_network("distilled", adapter, settings["net_arch"])
        self.optimiser = torch.optim.Adam(self.policy.parameters(), lr=settings["learning_rate"])
        self.seen: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        if self.path.exists():
            self.resume()
        self._saved = time.monotonic()
        self.planned = make(spec)  # the planner's own
        try:
            self.teacher = teacher_of(spec, self.planned)
            self.lane = open_lane(lambda: make(spec), spec.name)
        except BaseException:
            close(self.planned, spec.name)
            raise
        self.over = True

    @property
    def steps(self) -> int:
        return len(self.labels)

    def learn(self) -> None:
        """Plays and labels a few steps, then trains on all labels so far."""
        student = self.reference() if self.labels else None
        rng = np.random.default_rng([self.seed, self.steps])
        for _ in range(CHUNK - self.steps % CHUNK):  # what is left of it after an interruption
            if self.over:
                self.lane.begin(int(rng.integers(2**31)))
                self.teacher.reset(self.lane.env)
            lane = self.lane
            label = self.teacher.act(lane.env, lane.observation, lane.info)
            self.seen.append(np.asarray(self.adapter.observation(lane.observation), np.float32))
            self.labels.append(self.adapter.chosen(label))
            action = label
            if student is not None and rng.random() < len(self.labels) / ALONE:
                action = student.act(lane.env, lane.observation, lane.info)
                self.teacher.executed(action)
            self.over = lane.step(action)
        self._train(rng)
        if time.monotonic() > self._saved + SAVING_SECONDS:
            self.save()

    def _train(self, rng: np.random.Generator) -> None:
        seen, labels = self._standard(np.stack(self.seen)), np.stack(self.labels)
        size = self.settings["batch_size"]
        self.policy.set_training_mode(True)
        for _ in range(max(1, round(self.settings["passes"] * CHUNK / size * np.sqrt(len(labels) / CHUNK)))):
            rows = rng.integers(len(labels), size=size)
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

    def save(self) -> None:
        """Writes the labels, the observations that they are for, and the network with its optimiser."""
        parts = {"seen": np.stack(self.seen[: self.steps]), "labels": np.stack(self.labels)}
        parts |= {f"network.{name}": value.numpy() for name, value in self.policy.state_dict().items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            parts |= {f"optimiser.{number}.{name}": value.numpy() for name, value in moments.items()}
        save_state(parts, self.path)
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Continues the distillation whose labels are in the file.

        Raises:
            CheckpointError: if the file is damaged or is that of another distillation.
        """
        with reading(self.path):
            parts = load_file(self.path)
            seen, labels = parts.pop("seen"), parts.pop("labels")
            shapes = self.adapter.observation_space.shape, self.adapter.action_space.shape
            if len(seen) != len(labels) or (seen.shape[1:], labels.shape[1:]) != shapes:
                raise ValueError(f"it has labels of shape {labels.shape} for observations of shape {seen.shape}")
            if not np.isfinite(labels).all():
                raise ValueError("a label is not finite")
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for name in [name for name in parts if name.startswith("optimiser.")]:
                _, parameter_number, kind = name.split(".")
                moments.setdefault(int(parameter_number), {})[kind] = torch.from_numpy(parts.pop(name))
            weights = {name.removeprefix("network."): torch.from_numpy(part) for name, part in parts.items()}
            for number, parameter in enumerate(self.policy.parameters()):
                for kind, value in moments.get(number, {}).items():
                    if value.shape != (() if kind == "step" else parameter.shape):
                        raise ValueError(f"its optimiser is that of another network ({kind} of {tuple(value.shape)})")
            self.policy.load_state_dict(weights)
            groups = self.optimiser.state_dict()["param_groups"]
            self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.seen, self.labels = list(seen), list(labels)

    def close(self) -> None:
        """Saves the labels, and closes the environments."""
        if self.labels:
            self.save()
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
