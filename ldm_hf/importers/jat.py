"""Rows of ``jat-project/jat-dataset`` on the Hub (Gallouédec et al. 2024, arXiv 2402.09844).

Each task is a config, each row an episode. A row has ``continuous_observations``, ``discrete_observations``,
``text_observations`` or ``image_observations`` (one or several), ``continuous_actions`` or ``discrete_actions``, and
``rewards``. The reward beside an observation and an action is that action's. What JAT trains on is shifted by one
(``[0.0] + rewards[:-1]``, `scripts/train_jat.py`), so that the reward beside an observation is the one before it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ..errors import DatasetError
from ..spaces import Action, Observation
from ..utils.membership import changed_by_cast
from .arrays import vector
from .base import LoggedEpisode, Spaces, logged_episode
from .pictures import stack_pictures
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
        bad_episodes: ``refuse`` an episode that cannot be read while the spaces are looked for, or ``skip`` it.
    """

    needed = ("rewards",)

    def __init__(
        self,
        source: str,
        config: str | None = None,
        split: str = "train",
        spaces: Spaces | None = None,
        shifted_rewards: bool = False,
        bad_episodes: str = "refuse",
    ) -> None:
        self.shifted = shifted_rewards
        super().__init__(source, config, split, spaces, bad_episodes)
        self.origin["shifted_rewards"] = shifted_rewards

    def read(self, number: int) -> LoggedEpisode:
        """One episode."""
        rewards = vector(self.column(number, "rewards"), f"{self._where(number)}: rewards")
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
        name = "image_observations"
        cell = self.rows[number : number + 1][name].combine_chunks().flatten()
        if pa.types.is_struct(cell.type) or pa.types.is_binary(cell.type) or pa.types.is_large_binary(cell.type):
            return stack_pictures(cell.to_pylist(), self.folder, f"{self._where(number)}: {name}")
        values = self.column(number, name)
        wrong = (
            changed_by_cast(values, np.dtype(np.uint8)) if values.dtype.kind in "biuf" else np.ones(len(values), bool)
        )
        if wrong.any():
            step = int(np.argmax(wrong))
            extreme = values[step].max() if values.dtype.kind in "biuf" else values.dtype
            raise DatasetError(
                f"{self._where(number)}: {name}: step {step} has pixels such as {extreme}, no members of "
                "Box(0, 255, uint8); scale them to whole numbers from 0 to 255, or name it continuous_observations."
            )
        return values.astype(np.uint8)


def _without_last(part: Observation | Action) -> Observation | Action:
    """All steps but the last."""
    return {kind: values[:-1] for kind, values in part.items()} if isinstance(part, dict) else part[:-1]
