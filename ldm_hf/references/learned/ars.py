"""Augmented random search for linear policies (Mania et al. 2018, arXiv 1803.07055, algorithm V2-t)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from safetensors.numpy import load_file

from ...environments import EnvironmentSpec, catalogue, make
from ...errors import CheckpointError, short
from ...rollouts.lane import open_lane
from ...rollouts.returns import SELECTION_SEED
from .algorithms import Configuration, new_network
from .policy import CLIP, DESCRIPTION, ReinforcementLearned
from .spaces import Adapter
from .states import SAVING_SECONDS, SEARCH, reading, save_state

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy

LONGEST = 1000  # steps of an episode after which it is not played on
AUDITIONS = 3  # episodes that a relative's policy plays before it is taken over
SEEN = 1e6  # observations that the statistics of a relative's policy count as


class LinearSearch:
    """Searches for a linear policy of standardised observations.

    Each update adds random directions to the weights and subtracts them, plays one episode for each, and moves the
    weights along the best directions by the difference of the two returns. A bonus for being alive is left out
    (``reward_survive`` of Gymnasium's robots) where moving forward is rewarded, too: standing still would be learned.

    The search is deterministic: its random numbers follow from the seed and the number of the update.

    Args:
        spec: row of the catalogue.
        adapter: adapter of the environment.
        settings: ``directions`` of an update; how many ``best`` of them count; ``step`` size; ``noise`` (the standard
            deviation of the directions).
        seed: seed of the search.
        path: file of its state, for the next search to continue.

    Attributes:
        weights: ``(outputs, numbers + 1)``; of a Box, an output of -1 is its low bound, 1 its high bound.
        mean: mean of the observations so far.
        squares: sum of their squared distances from the mean.
        count: number of observations.
        updates: number of updates so far.
        steps: number of environment steps so far.
    """

    def __init__(
        self, spec: EnvironmentSpec, adapter: Adapter, settings: Configuration, seed: int, path: Path
    ) -> None:
        self.spec, self.adapter, self.settings, self.seed, self.path = spec, adapter, settings, seed, path
        self.lane = open_lane(lambda: make(spec), spec.name)
        self.head = _Head(adapter.action_space)
        numbers = int(np.prod(adapter.observation_space.shape))
        self.weights = np.zeros((self.head.outputs, numbers + 1))
        self.mean, self.squares, self.count = np.zeros(numbers), np.ones(numbers), 1.0
        self.updates = self.steps = 0
        self._pairs: list[tuple[float, float]] = []  # returns of this update's directions so far
        self._seen: list[np.ndarray] = []
        self._saved = time.monotonic()

    @classmethod
    def begin(
        cls, spec: EnvironmentSpec, adapter: Adapter, settings: Configuration, seed: int, place: Path
    ) -> LinearSearch:
        """Continues the search in a folder; else begins with the policy of a relative, if one is better than none.

        Raises:
            CheckpointError: if the state in the folder is damaged or is that of another search.
        """
        search = cls(spec, adapter, settings, seed, place / SEARCH)
        try:
            if search.path.exists():
                search.resume()
            elif found := relatives(spec, place.parent, search.lane.env):
                search.start_from(found)
        except BaseException:
            search.lane.close()
            raise
        return search

    def learn(self) -> None:
        """Tries one direction; the last one of an update moves the weights."""
        number = self.settings["directions"]
        rng = np.random.default_rng([self.seed, self.updates, len(self._pairs)])
        change, seed = self.settings["noise"] * rng.normal(size=self.weights.shape), int(rng.integers(2**31))
        self._pairs.append((self._play(self.weights + change, seed), self._play(self.weights - change, seed)))
        if len(self._pairs) == number:
            self._update()
            if time.monotonic() > self._saved + SAVING_SECONDS:
                self.save()

    def _update(self) -> None:
        returns = np.array(self._pairs)
        best = np.argsort(-returns.max(1), kind="stable")[: self.settings["best"]]
        deviation = returns[best].std()
        if deviation > 0:
            size = self.settings["step"] / (len(best) * deviation)
            for index in best:
                rng = np.random.default_rng([self.seed, self.updates, index])
                self.weights += size * (returns[index, 0] - returns[index, 1]) * rng.normal(size=self.weights.shape)
        seen = np.concatenate(self._seen)
        total, shift = self.count + len(seen), seen.mean(0) - self.mean
        self.squares += ((seen - seen.mean(0)) ** 2).sum(0) + shift**2 * self.count * len(seen) / total
        self.mean, self.count = self.mean + shift * len(seen) / total, total
        self.updates += 1
        self._pairs, self._seen = [], []

    def _play(self, weights: np.ndarray, seed: int) -> float:
        """The return of an episode without bonuses for being alive."""
        lane, adapter, total = self.lane, self.adapter, 0.0
        matrix, bias = weights[:, :-1], weights[:, -1]
        mean, scale = self.mean, 1 / self._deviation
        lane.begin(seed)
        seen = []
        for _ in range(LONGEST):
            observation = np.ravel(adapter.observation(lane.observation))
            seen.append(observation)
            standard = np.minimum(np.maximum((observation - mean) * scale, -CLIP), CLIP)
            over = lane.step(adapter.action(self.head.action(matrix @ standard + bias)))
            total += lane.reward
            if lane.info.get("reward_forward"):
                total -= lane.info.get("reward_survive", 0.0)
            if over:
                break
        self.steps += len(seen)
        self._seen.append(np.asarray(seen, float))
        return total

    @property
    def _deviation(self) -> np.ndarray:
        """Standard deviations of the observations; infinite where they never changed, so that these do not count."""
        deviation = np.sqrt(self.squares / self.count)
        return np.where(deviation > 1e-7, deviation, np.inf)

    def reference(self) -> ReinforcementLearned:
        """The policy as a network without hidden layers."""
        adapter = self.adapter
        policy = new_network("ars", adapter, net_arch=[])
        scale, layer = self.head.scale, _layer(policy)
        with torch.no_grad():
            for weights in policy.parameters():
                weights.zero_()
            layer.weight.copy_(torch.from_numpy(self.weights[:, :-1] * scale[:, None]))
            layer.bias.copy_(torch.from_numpy(self.weights[:, -1] * scale + self.head.centre))
        policy.eval()
        shape = adapter.observation_space.shape
        mean, deviation = (part.astype(np.float32).reshape(shape) for part in (self.mean, self._deviation))
        return ReinforcementLearned(policy, adapter, mean, deviation)

    def start_from(self, policies: Iterable[ReinforcementLearned]) -> None:
        """Begins with the policy that does best in this environment, which may be to do nothing."""
        found = [self._parts()]
        for policy in policies:
            layer = _layer(policy.policy)
            weights, bias = (part.detach().numpy().astype(float) for part in (layer.weight, layer.bias))
            weights = np.column_stack([weights, bias - self.head.centre]) / self.head.scale[:, None]
            assert policy.mean is not None and policy.deviation is not None  # of `relatives`
            mean, deviation = (np.ravel(part).astype(float) for part in (policy.mean, policy.deviation))
            squares = np.where(np.isfinite(deviation), deviation, 0.0) ** 2 * SEEN
            found.append({"weights": weights, "mean": mean, "squares": squares, "count": np.array(SEEN)})
        values = []
        for parts in found:
            self._take(parts)
            values.append(sum(self._play(self.weights, SELECTION_SEED + episode) for episode in range(AUDITIONS)))
        self._take(found[int(np.argmax(values))])
        self._seen, self.steps = [], 0

    def _parts(self) -> dict[str, np.ndarray]:
        return {
            "weights": self.weights,
            "mean": self.mean,
            "squares": self.squares,
            "count": np.array(self.count),
        }

    def _take(self, parts: dict[str, np.ndarray]) -> None:
        self.weights, self.mean, self.squares = parts["weights"], parts["mean"], parts["squares"].copy()
        self.count = float(parts["count"])

    def save(self) -> None:
        """Writes the state after the last update."""
        save_state(self._parts() | {"progress": np.array([self.updates, self.steps])}, self.path)
        self._saved = time.monotonic()

    def close(self) -> None:
        """Saves the state, and closes the environment."""
        self.save()
        self.lane.close()

    def resume(self) -> None:
        """Continues the search whose state is in the file.

        Raises:
            CheckpointError: if the file is damaged or is that of another search.
        """
        with reading(self.path):
            parts = load_file(self.path)
            for name, ours in self._parts().items():
                if parts[name].shape != ours.shape or not np.isfinite(parts[name]).all():
                    raise ValueError(f"{name} is {short(parts[name])}")
            if not (parts["count"] > 0 and (parts["squares"] >= 0).all()):
                raise ValueError("its statistics are impossible")
            self.updates, self.steps = (int(number) for number in parts["progress"])
            if min(self.updates, self.steps) < 0:
                raise ValueError("its progress is impossible")
        self._take(parts)


def _layer(policy: BasePolicy) -> torch.nn.Linear:
    """The only layer of a policy without hidden layers."""
    assert isinstance(policy.action_net, torch.nn.Linear)
    return policy.action_net


class _Head:
    """Turns the outputs of a linear map into an action of an adapter.

    Args:
        space: Box, Discrete or MultiDiscrete.
    """

    def __init__(self, space: gymnasium.Space[object]) -> None:
        self.box = space if isinstance(space, spaces.Box) else None
        if isinstance(space, spaces.Box):
            low, high = (end.ravel().astype(float) for end in (space.low, space.high))
            self.scale, self.centre, self.outputs = np.maximum((high - low) / 2, 1e-6), (high + low) / 2, len(low)
            return
        assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)  # as an `Adapter` has them
        counts = space.nvec if isinstance(space, spaces.MultiDiscrete) else np.array([space.n])
        self.outputs, self.single = int(counts.sum()), isinstance(space, spaces.Discrete)
        self.ends = np.cumsum(counts)[:-1]
        self.scale, self.centre = np.ones(self.outputs), np.zeros(self.outputs)

    def action(self, outputs: np.ndarray) -> np.ndarray:
        """The action: outputs within their bounds, or the choice with the highest output."""
        if self.box is not None:
            bounded: np.ndarray = np.minimum(np.maximum(outputs, -1), 1) * self.scale + self.centre
            return bounded.astype(self.box.dtype).reshape(self.box.shape)
        if self.single:
            return np.asarray(outputs.argmax())
        return np.array([part.argmax() for part in np.split(outputs, self.ends)])


def relatives(spec: EnvironmentSpec, folder: Path, env: gymnasium.Env) -> list[ReinforcementLearned]:
    """Linear policies of other rows of the same family with the same spaces.

    Args:
        spec: row of the catalogue.
        folder: folder of all policies.
        env: environment of the row.
    """
    found = []
    for row in catalogue().values():
        if row.family != spec.family or row.name == spec.name or not (folder / row.name / DESCRIPTION).exists():
            continue
        try:
            policy = ReinforcementLearned.load(folder / row.name, env, row.name)
        except CheckpointError:  # of other spaces, or damaged: it is not needed
            continue
        if policy.mean is not None and policy.policy.net_arch == []:
            found.append(policy)
    return found
