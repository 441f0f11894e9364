"""The rows of logged episodes as plain tables: what a decision had to go by, what was done, what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from ..actions_ldm import ActionCodec
from ..errors import UnsupportedSpaceError
from ..spaces import Arrays, Space, leaves
from ..trajectories.reader import EnvironmentTrajectories
from ..trajectories.selection import select

LAGS = 3  # steps of the same episode before a row that its features tell
WIDEST = 256  # numbers of a leaf; pictures have more, and no baseline here sees them
MOST_LAGGED = 64  # numbers of an observation that is told of earlier steps, too
ONE_HOT = 32  # choices of a Discrete that become columns of their own


@dataclass(frozen=True)
class Element:
    """One scalar of an action.

    Args:
        name: path of its leaf, and its place in it.
        is_choice: whether it is one of a few values, otherwise a number.
        words: what the values are called, where the log says so.
    """

    name: str
    is_choice: bool
    words: tuple[str, ...] = ()

    def shown(self, value: float) -> str:
        """A value as a report shows it."""
        if not self.is_choice:
            return f"{value:.4g}"
        return self.words[int(value)] if 0 <= value < len(self.words) else str(int(value))


class ActionTable:
    """Turns actions of one space into columns ``(N, E)``, one for each `Element`.

    Args:
        space: action space.
        codec: what the model makes of it; says which scalars are choices.
        words: words of the choices by path, where the log has them.

    Raises:
        UnsupportedSpaceError: if an action holds a text.
    """

    def __init__(self, space: Space, codec: ActionCodec, words: Mapping[str, Sequence[str]] | None = None) -> None:
        self.elements: list[Element] = []
        for leaf, coded in zip(leaves(space), codec.leaves, strict=True):
            if isinstance(leaf.space, spaces.Text):
                raise UnsupportedSpaceError(
                    f"the action at leaf '{leaf.path or '(root)'}' is a text, and texts are not compared; "
                    "leave it out of the log, or make it a choice (`values` in the YAML)."
                )
            shape = tuple(leaf.space.shape or ())
            for place in np.ndindex(shape):
                name = (leaf.path or "action") + (f"[{', '.join(map(str, place))}]" if np.prod(shape) > 1 else "")
                told = tuple((words or {}).get(leaf.path, ())) if not coded.continuous else ()
                self.elements.append(Element(name, not coded.continuous, told))
        self._paths = [leaf.path for leaf in leaves(space)]

    def __call__(self, parts: Arrays) -> np.ndarray:
        """Columns ``(N, E)`` float64 of actions ``{path: (N, *shape)}``."""
        return np.concatenate([parts[path].reshape(len(parts[path]), -1) for path in self._paths], 1).astype(float)


@dataclass
class Rows:
    """Steps of some episodes, one row each.

    Args:
        episodes: number of each episode in its stream, ``(K,)``.
        episode: place of each row's episode among these, ``(N,)``.
        step: steps of the episode before the row, ``(N,)``.
        features: observation of the row, and `LAGS` steps before it in its episode (NaN before the first), ``(N, F)``.
        previous: action of the step before, NaN in the first row of an episode, ``(N, E)``.
        actions: logged actions, ``(N, E)``.
        proposed: what the model proposes, ``(N, E)``.
        reward: rewards, ``(N,)``.
        last: whether the episode ends with the row, ``(N,)``.
    """

    episodes: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    features: np.ndarray
    previous: np.ndarray
    actions: np.ndarray
    proposed: np.ndarray
    reward: np.ndarray
    last: np.ndarray

    def per_episode(self, values: np.ndarray) -> np.ndarray:
        """Sums of values ``(N,)`` over the rows of each episode, ``(K,)``."""
        return np.bincount(self.episode, values, len(self.episodes))

    @property
    def returns(self) -> np.ndarray:
        """Sum of rewards of each episode, ``(K,)``."""
        return self.per_episode(self.reward)


def read_rows(
    stream: EnvironmentTrajectories, episodes: np.ndarray, table: ActionTable, proposed: np.ndarray
) -> tuple[Rows, list[str]]:
    """Reads episodes as rows.

    Args:
        stream: stream of an environment.
        episodes: numbers of the episodes ``(K,)``, increasing.
        table: turns actions into columns.
        proposed: what the model proposes in their steps, ``(N, E)``.

    Returns:
        The rows, and the paths of the leaves that the features leave out: texts and what has over `WIDEST` numbers.
    """
    chosen = select(stream, episodes)
    lengths = np.diff(chosen.episode_starts)
    steps = chosen.slice(0, chosen.num_steps)
    step = np.arange(chosen.num_steps) - np.repeat(chosen.episode_starts[:-1], lengths)
    now, before, left_out = _observed(stream.observation_space, steps["observation"])
    actions, reward = table(steps["action"]), np.asarray(steps["reward"], float)
    told = np.concatenate([before, actions, reward[:, None]], axis=1)
    past = [_lagged(told, step, lag) for lag in range(1, LAGS + 1)]
    rows = Rows(
        episodes=episodes,
        episode=np.repeat(np.arange(len(episodes)), lengths),
        step=step,
        features=np.concatenate([now, *past, step[:, None]], axis=1),
        previous=_lagged(actions, step, 1),
        actions=actions,
        proposed=proposed,
        reward=reward,
        last=np.append(step[1:] == 0, True),
    )
    return rows, left_out


def _observed(space: Space, parts: Arrays) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Columns of the observation, columns that are told of earlier steps too, and the leaves left out."""
    count = len(next(iter(parts.values())))
    now, before, left_out = [np.zeros((count, 0))], [np.zeros((count, 0))], []
    for leaf in leaves(space):
        values = parts[leaf.path].reshape(count, -1)
        if isinstance(leaf.space, spaces.Text) or values.shape[1] > WIDEST:
            left_out.append(leaf.path or "(root)")
            continue
        values = values.astype(float)
        before.append(values)
        if isinstance(leaf.space, spaces.Discrete) and leaf.space.n <= ONE_HOT:
            values = (values == leaf.space.start + np.arange(leaf.space.n)).astype(float)
        now.append(values)
    told = np.concatenate(before, axis=1)
    return np.concatenate(now, axis=1), told if told.shape[1] <= MOST_LAGGED else told[:, :0], left_out


def _lagged(values: np.ndarray, step: np.ndarray, lag: int) -> np.ndarray:
    """Values ``(N, n)`` of ``lag`` steps before; NaN where the episode had not begun."""
    shifted = np.full(values.shape, np.nan)
    shifted[lag:] = values[:-lag]
    shifted[step < lag] = np.nan
    return shifted
