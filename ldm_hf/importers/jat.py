"""Rows of ``jat-project/jat-dataset`` on the Hub (Gallouédec et al. 2024, arXiv 2402.09844).

Each task is a config, each row an episode. A row has ``continuous_observations``, ``discrete_observations``,
``text_observations`` or ``image_observations`` (one or several), ``continuous_actions`` or ``discrete_actions``, and
``rewards``. The reward beside an observation and an action is that action's. What JAT trains on is shifted by one
(``[0.0] + rewards[:-1]``, `scripts/train_jat.py`), so that the reward beside an observation is the one before it.
"""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from ..errors import DatasetError
from ..spaces import Action, Observation
from ..trajectories.images import FORMATS
from .base import LoggedEpisode, Spaces, logged_episode
from .rows import RowSource

KINDS = ("continuous", "discrete", "text", "image")


class JATSource(RowSource):
    """JAT's rows. They do not say whether an episode was terminated or truncated; it counts as truncated.

    Args:
        source: Hub id, folder or file.
        config: name of the task, ``mujoco-ant`` for instance.
        split: ``train`` or ``test``.
        spaces: observation and action space; found in the data by default.
        shifted_rewards: rewards are one step late, as in what JAT trains on; the last step of each episode, whose
            reward is lost, is left out.
    """

    needed = ("rewards",)

    def __init__(
        self,
        source: str,
        config: str | None = None,
        split: str = "train",
        spaces: Spaces | None = None,
        shifted_rewards: bool = False,
    ) -> None:
        self.shifted = shifted_rewards
        super().__init__(source, config, split, spaces)
        self.origin["shifted_rewards"] = shifted_rewards

    def read(self, number: int) -> LoggedEpisode:
        """One episode."""
        rewards = self.column(number, "rewards").reshape(-1)
        observation, action = (self._parts(number, role) for role in ("observations", "actions"))
        if self.shifted:
            if len(rewards) < 2:
                raise DatasetError(f"{self._where(number)} has one step, whose reward is lost by the shift; drop it.")
            rewards = rewards[1:]
            observation, action = (_without_last(part) for part in (observation, action))
        return logged_episode(observation, action, rewards, terminated=False)

    def _parts(self, number: int, role: str) -> Observation | Action:
        """The only part of one episode, or a dict of several parts by kind."""
        parts = {}
        for kind in KINDS:
            name = f"{kind}_{role}"
            if name in self.rows.column_names:
                parts[kind] = self._images(number) if kind == "image" else self.column(number, name)
        if not parts:
            raise DatasetError(f"{self.source} has none of {', '.join(f'{kind}_{role}' for kind in KINDS)}.")
        return parts if len(parts) > 1 else next(iter(parts.values()))

    def _images(self, number: int) -> np.ndarray:
        """The images of one episode, which are encoded files or nested lists."""
        cell = self.rows[number : number + 1]["image_observations"].combine_chunks().flatten()
        if not pa.types.is_struct(cell.type):
            return self.column(number, "image_observations").astype(np.uint8)
        return np.stack(
            [np.asarray(Image.open(io.BytesIO(image["bytes"]), formats=FORMATS)) for image in cell.to_pylist()]
        )


def _without_last(part: Observation | Action) -> Observation | Action:
    """All steps but the last."""
    return {kind: values[:-1] for kind, values in part.items()} if isinstance(part, dict) else part[:-1]
