"""The baseline of tables: gradient boosting from the current observation to the label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from retrieval import Retrieval
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from ldm_hf.rollouts.lane import Lane
from ldm_hf.spaces import Action, stack, unflatten, unstack
from ldm_hf.trajectories.streams import Stream


class Boosting(Retrieval):
    """A policy without history: scikit-learn's gradient boosting at its defaults, a model for each action element.

    Leaves may hold as few as five observations, since there are few.

    Args:
        streams: Demonstrations, all of the same spaces; numbers are standardised by the statistics of the first stream.
        seed: Seed of the models.
    """

    def __init__(self, streams: Sequence[Stream], seed: int = 0) -> None:
        super().__init__(streams, seed=seed)
        layout = self.features.layout
        inputs = np.concatenate([self.numbers, self.symbols], axis=1)
        positions = layout.actions.positions(self.labels, count=len(inputs))
        options = {"min_samples_leaf": 5, "random_state": seed}
        self.models: list[HistGradientBoostingClassifier | HistGradientBoostingRegressor | float] = []
        for column, continuous in zip(positions.T, layout.actions.continuous, strict=True):
            if np.ptp(column) == 0:  # nothing to learn
                self.models.append(float(column[0]))
                continue
            kind = HistGradientBoostingRegressor if continuous else HistGradientBoostingClassifier
            self.models.append(kind(**options).fit(inputs, column))

    def act(self, lanes: list[Lane]) -> list[Action]:
        layout = self.features.layout
        parts = stack(layout.observation_space, [lane.observation for lane in lanes])
        inputs = np.concatenate(self.features(parts, len(lanes)), axis=1)
        columns = [
            np.full(len(lanes), model) if isinstance(model, float) else model.predict(inputs) for model in self.models
        ]
        actions = layout.actions.decode(np.stack(columns, 1).astype(np.float32))
        return unstack(layout.action_space, unflatten(layout.action_space, actions), len(lanes))
