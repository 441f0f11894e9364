"""scikit-learn's learners as they are used here: gradient boosting with history features, and nearest neighbours."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np

from ..errors import MissingExtraError

TREES = 500  # of a classifier, over all classes: many classes get fewer rounds each
ROUNDS = (10, 100)  # of boosting, at least and at most


def _sklearn(part: str) -> ModuleType:
    """A module of scikit-learn.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError as error:
        raise MissingExtraError("scikit-learn", extra="logs") from error


class _Columns:
    """The columns that hold anything: of those without a number, such as what came before a first step in episodes of
    one step, scikit-learn's boosting cannot make bins.

    Args:
        features: features to learn from ``(N, F)``.
    """

    def __init__(self, features: np.ndarray) -> None:
        self._there = ~np.isnan(features).all(axis=0)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The columns of any features ``(N, F)``; a column of zeros if there is none."""
        return features[:, self._there] if self._there.any() else np.zeros((len(features), 1))


class Classifier:
    """Probabilities of choices given features (`HistGradientBoostingClassifier`).

    Args:
        features: features ``(N, F)``, NaN where something is missing.
        choices: logged choices ``(N,)``.
    """

    def __init__(self, features: np.ndarray, choices: np.ndarray) -> None:
        ensemble = _sklearn("ensemble")
        self.classes = np.unique(choices)
        rounds = int(np.clip(TREES // len(self.classes), *ROUNDS))
        self._model, self._columns = None, _Columns(features)
        if len(self.classes) > 1:
            self._model = ensemble.HistGradientBoostingClassifier(
                max_iter=rounds, early_stopping=False, random_state=0
            )
            self._model.fit(self._columns(features), choices)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities ``(N, len(classes))``."""
        if self._model is None:
            return np.ones((len(features), 1))
        return np.asarray(self._model.predict_proba(self._columns(features)))

    def of(self, features: np.ndarray, choices: np.ndarray) -> np.ndarray:
        """Probability of one choice a row ``(N,)``; 0 for one that was never logged."""
        place = np.searchsorted(self.classes, choices).clip(max=len(self.classes) - 1)
        found: np.ndarray = self(features)[np.arange(len(choices)), place] * (self.classes[place] == choices)
        return found

    def likeliest(self, features: np.ndarray) -> np.ndarray:
        """The most likely choice of each row ``(N,)``."""
        found: np.ndarray = self.classes[self(features).argmax(axis=1)]
        return found


class Regressor:
    """Numbers given features (`HistGradientBoostingRegressor`).

    Args:
        features: features ``(N, F)``, NaN where something is missing.
        numbers: logged numbers ``(N,)``.
        loss: ``squared_error`` for means, ``absolute_error`` for medians.
    """

    def __init__(self, features: np.ndarray, numbers: np.ndarray, loss: str = "squared_error") -> None:
        boosting = _sklearn("ensemble").HistGradientBoostingRegressor
        self._columns = _Columns(features)
        self._model = boosting(loss=loss, max_iter=ROUNDS[1], early_stopping=False, random_state=0).fit(
            self._columns(features), numbers
        )

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Predictions ``(N,)``."""
        return np.asarray(self._model.predict(self._columns(features)))


def nearest(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Number of the row of ``train`` that is nearest to each row of ``test``, features standardised, ``(N,)``."""
    neighbours = _sklearn("neighbors").NearestNeighbors(n_neighbors=1)
    known = ~np.isnan(train)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, train, 0).sum(0) / count
    deviation = np.sqrt(np.where(known, (train - mean) ** 2, 0).sum(0) / count)
    scale = np.where(deviation > 0, deviation, 1)
    # what is missing counts as average
    parts = [np.nan_to_num((values - mean) / scale) for values in (train, test)]
    return np.asarray(neighbours.fit(parts[0]).kneighbors(parts[1], return_distance=False))[:, 0]
