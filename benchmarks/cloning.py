"""Policies without history: an estimator of scikit-learn from the current observation to the label."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from retrieval import Demonstrations
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import OneHotEncoder

from ldm_hf.rollouts.lane import Lane
from ldm_hf.spaces import Action, stack, unflatten, unstack
from ldm_hf.trajectories.streams import Stream

ROUNDS = 20  # of a network through all steps


@dataclass(frozen=True)
class Learner:
    """What a clone learns by.

    Args:
        classifier: estimator of an action element that is a choice.
        regressor: estimator of real-valued elements.
        options: arguments of both.
        joint: one regressor gives all real-valued elements.
        indicators: symbols are given as indicators, not as numbers.
        once: of equal observations, the first counts alone.
        pooled: side in pixels of the squares that images are averaged over.
    """

    classifier: type[Any]
    regressor: type[Any]
    options: Mapping[str, Any]
    joint: bool = False
    indicators: bool = False
    once: bool = False
    pooled: int = 1


BOOSTING = Learner(  # at its defaults, but leaves of as few as five observations, since demonstrations are few
    HistGradientBoostingClassifier, HistGradientBoostingRegressor, {"min_samples_leaf": 5}, once=True
)
NETWORK = Learner(
    MLPClassifier,
    MLPRegressor,
    {"hidden_layer_sizes": (128, 128), "max_iter": ROUNDS},
    joint=True,
    indicators=True,
    pooled=2,
)


class Clone:
    """A policy without history, with an estimator for each action element.

    Args:
        streams: demonstrations, all of the same spaces; numbers are standardised by the statistics of the first stream.
        learner: what it learns by.
        seed: seed of the estimators.
        held_out: share of the steps, the last ones, that are not learned from.

    Attributes:
        agreement: share of held-out labels that the clone chooses, or of their variance that it predicts (the mean
            over action elements); NaN if none are held out.
    """

    def __init__(self, streams: Sequence[Stream], learner: Learner, seed: int = 0, held_out: float = 0.0) -> None:
        read = Demonstrations(streams, seed=seed, once=learner.once, pooled=learner.pooled)
        self.features, layout, self.encoder = read.features, read.features.layout, None
        if learner.indicators and read.symbols.shape[1]:
            self.encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
            self.encoder.fit(read.symbols)
        inputs = self._inputs(read.numbers, read.symbols)
        learned = round((1 - held_out) * len(inputs))
        targets = layout.actions.positions(read.labels, count=len(inputs))  # (steps, elements)
        self.elements, self.models, agreements = targets.shape[1], list[tuple[np.ndarray, Any]](), []
        for columns in _groups(layout.actions.continuous, learner.joint):
            kind = learner.regressor if layout.actions.continuous[columns[0]] else learner.classifier
            target = targets[:, columns].squeeze(-1) if len(columns) == 1 else targets[:, columns]
            model: Any = _Constant(target[0])
            if np.ptp(target[:learned], axis=0).any():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # as many rounds as there is time for
                    model = kind(**learner.options, random_state=seed).fit(inputs[:learned], target[:learned])
            if learned < len(inputs):
                agreements += [model.score(inputs[learned:], target[learned:])] * len(columns)
            self.models.append((columns, model))
        self.agreement = float(np.mean(agreements)) if agreements else float("nan")

    def _inputs(self, numbers: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        return np.concatenate([numbers, self.encoder.transform(symbols) if self.encoder else symbols], axis=1)

    def start(self, lanes: list[Lane]) -> None: ...

    def begin(self, index: int, lane: Lane) -> None: ...

    def act(self, lanes: list[Lane]) -> list[Action]:
        layout = self.features.layout
        parts = stack(layout.observation_space, [lane.observation for lane in lanes])
        inputs = self._inputs(*self.features(parts, len(lanes)))
        positions = np.zeros((len(lanes), self.elements), np.float32)
        for columns, model in self.models:
            positions[:, columns] = model.predict(inputs).reshape(len(lanes), len(columns))
        actions = layout.actions.decode(positions)
        return unstack(layout.action_space, unflatten(layout.action_space, actions), len(lanes))


class _Constant:
    """Always the same label: there is nothing to learn."""

    def __init__(self, label: np.ndarray) -> None:
        self.label = label

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.repeat(self.label[None], len(inputs), axis=0)

    def score(self, inputs: np.ndarray, target: np.ndarray) -> float:
        return float(np.mean(target == self.label))


def _groups(continuous: np.ndarray, joint: bool) -> list[np.ndarray]:
    """The columns of each estimator."""
    numbers, choices = np.flatnonzero(continuous), np.flatnonzero(~np.asarray(continuous, bool))
    together = [numbers] if joint and len(numbers) else list(numbers[:, None])
    return [*together, *choices[:, None]]
