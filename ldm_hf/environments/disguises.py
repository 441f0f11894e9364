"""Disguises: the same world with its actions, coordinates, symbols and letters exchanged, so that only history helps.

A disguise is a bijection of a space's members, drawn by a seed. Training (`SegmentDataset`) and the wrapper
`Disguise` share them: a disguised trajectory is what the disguised environment gives.

* Numbers of observations are shuffled, negated, and scaled by powers of two. Those of actions with equal bounds are
  shuffled, and some are mirrored between their bounds.
* Choices and symbols are permuted, symbols among 16 neighbours; in a grid, alike in all cells.
* Letters of texts are permuted among letters, digits among digits.
* Images and whole numbers of a large range stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from ..observations_ldm import leaf_kind, spatial_axes
from ..spaces import Arrays, Member, Space, Statistics, Steps, children, leaf_array, leaves

GROUP = 16  # neighbouring symbols that change places with one another: small numbers stay small
MOST_SYMBOLS = 2**16  # of one scalar; more are left as they are
SCALES = (0.5, 1.0, 2.0)  # powers of two lose no precision
ROLES = Literal["both", "observations", "actions"]


class _Same:
    """No disguise."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Disguises values ``(N, *shape)``."""
        return values

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Inverse of `apply`."""
        return values

    def moments(self, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and deviations of disguised values, of those of the values, ``(n,)``."""
        return mean, deviation


class _Numbers(_Same):
    """Scalars in another order, negated and scaled; their bounds are not told any more."""

    def __init__(self, space: spaces.Box, rng: np.random.Generator) -> None:
        count = math.prod(space.shape)
        super().__init__(spaces.Box(-np.inf, np.inf, space.shape, space.dtype.type))
        self.order = rng.permutation(count) if rng.random() < 0.5 else np.arange(count)
        self.factor = (rng.choice([-1.0, 1.0], count) * rng.choice(SCALES, count)).astype(space.dtype)

    def apply(self, values: np.ndarray) -> np.ndarray:
        disguised: np.ndarray = values.reshape(len(values), -1)[:, self.order] * self.factor
        return disguised.reshape(values.shape)

    def undo(self, values: np.ndarray) -> np.ndarray:
        plain = np.empty_like(values).reshape(len(values), -1)
        plain[:, self.order] = values.reshape(len(values), -1) / self.factor
        return plain.reshape(values.shape)

    def moments(self, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return mean[self.order] * self.factor, deviation[self.order] * np.abs(self.factor)


class _Mirror(_Same):
    """Scalars of equal bounds in another order, some mirrored between their bounds."""

    def __init__(self, space: spaces.Box, rng: np.random.Generator) -> None:
        super().__init__(space)
        self.low, self.high = space.low.reshape(-1), space.high.reshape(-1)
        self.order = np.arange(len(self.low))
        for bounds in np.unique(np.stack([self.low, self.high]), axis=1).T:
            alike = np.flatnonzero((self.low == bounds[0]) & (self.high == bounds[1]))
            self.order[alike] = rng.permutation(alike)
        both = np.isfinite(self.low) & np.isfinite(self.high)
        mirrored = (both | (~np.isfinite(self.low) & ~np.isfinite(self.high))) & (rng.random(len(self.low)) < 0.5)
        self.sign = np.where(mirrored, -1, 1).astype(space.dtype)
        with np.errstate(invalid="ignore"):
            self.middle = np.where(mirrored & both, self.low + self.high, 0).astype(space.dtype)

    def _mirrored(self, values: np.ndarray) -> np.ndarray:
        inside: np.ndarray = np.clip(self.middle + self.sign * values, self.low, self.high)
        return inside

    def apply(self, values: np.ndarray) -> np.ndarray:
        return self._mirrored(values.reshape(len(values), -1)[:, self.order]).reshape(values.shape)

    def undo(self, values: np.ndarray) -> np.ndarray:
        plain = np.empty_like(values).reshape(len(values), -1)
        plain[:, self.order] = self._mirrored(values.reshape(len(values), -1))
        return plain.reshape(values.shape)


class _Symbols(_Same):
    """Values permuted, by a table for each scalar, or for each channel of a grid."""

    def __init__(self, space: Space, rng: np.random.Generator, group: int) -> None:
        super().__init__(space)
        low, counts = _choices(space)
        self.column = np.arange(len(counts))
        if leaf_kind(space) == "grid" and len(set(counts)) == len(set(low)) == 1:
            self.column = _channels(space.shape or ())  # a channel's cells are alike
            low, counts = low[: self.column.max() + 1], counts[: self.column.max() + 1]
        most = max(counts, default=0)
        self.table = np.tile(np.arange(most), (len(counts), 1))
        for row, count in zip(self.table, counts, strict=True):
            for start in range(0, count, group):
                row[start : min(start + group, count)] = start + rng.permutation(min(group, count - start))
        self.inverse = self.table.argsort(axis=1)
        self.low = np.asarray(low, np.int64)[self.column]

    def _mapped(self, table: np.ndarray, values: np.ndarray) -> np.ndarray:
        codes = values.reshape(len(values), -1).astype(np.int64) - self.low
        known = np.clip(codes, 0, table.shape[1] - 1)
        mapped = np.where(known == codes, table[self.column, known], codes) + self.low
        return mapped.reshape(values.shape).astype(values.dtype)

    def apply(self, values: np.ndarray) -> np.ndarray:
        return self._mapped(self.table, values)

    def undo(self, values: np.ndarray) -> np.ndarray:
        return self._mapped(self.inverse, values)

    def mask(self, legal: np.ndarray) -> np.ndarray:
        """The legal choices ``(n,)`` of all scalars in turn, after the disguise."""
        counts = np.array(_choices(self.space)[1])
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        places = np.concatenate([row[:count] for row, count in zip(self.table[self.column], counts, strict=True)])
        disguised = np.empty_like(legal)
        disguised[starts + places] = legal
        return disguised


class _Letters(_Same):
    """Letters and digits of a text permuted, capitals as small letters."""

    def __init__(self, space: spaces.Text, rng: np.random.Generator) -> None:
        super().__init__(space)
        known = space.character_set
        pairs = [one for one in sorted(known) if one.islower() and one.upper() in known and len(one.upper()) == 1]
        singles = [one for one in sorted(known) if one.isalpha() and one.lower() not in pairs]
        table: dict[str, str] = {}
        for kind in (pairs, singles, [one for one in sorted(known) if one.isdigit()]):
            table |= dict(zip(kind, rng.permutation(kind).tolist(), strict=True)) if kind else {}
        table |= {one.upper(): table[one].upper() for one in pairs}
        self.table = str.maketrans(table)
        self.inverse = str.maketrans({value: name for name, value in table.items()})

    def apply(self, values: np.ndarray) -> np.ndarray:
        return leaf_array(self.space, [text.translate(self.table) for text in values])

    def undo(self, values: np.ndarray) -> np.ndarray:
        return leaf_array(self.space, [text.translate(self.inverse) for text in values])


def _choices(space: Space) -> tuple[list[int], list[int]]:
    """Lowest value and number of values of each scalar of a leaf of choices."""
    size = math.prod(space.shape or ())
    if isinstance(space, spaces.Discrete):
        return [int(space.start)], [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        start = np.broadcast_to(space.start, space.shape).reshape(-1)
        return start.tolist(), space.nvec.reshape(-1).tolist()
    if isinstance(space, spaces.MultiBinary):
        return [0] * size, [2] * size
    assert isinstance(space, spaces.Box)
    low, high = (bound.reshape(-1).astype(object) for bound in (space.low, space.high))
    return low.tolist(), (high - low + 1).tolist()


def _channels(shape: tuple[int, ...]) -> np.ndarray:
    """The channel of each scalar of a grid, ``(n,)``."""
    cells = spatial_axes(shape) if len(shape) > 1 else (0,)
    sizes = [1 if axis in cells else size for axis, size in enumerate(shape)]
    channels: np.ndarray = np.broadcast_to(np.arange(math.prod(sizes)).reshape(sizes), shape).reshape(-1)
    return channels


def _leaf_disguise(space: Space, rng: np.random.Generator, action: bool) -> _Same:
    if isinstance(space, spaces.Text):
        return _Letters(space, rng)
    if not math.prod(space.shape or ()) or (not action and leaf_kind(space) == "pixels"):
        return _Same(space)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return _Mirror(space, rng) if action else _Numbers(space, rng)
    if leaf_kind(space) not in ("categorical", "grid"):
        return _Same(space)
    low, counts = _choices(space)
    if max(counts) > MOST_SYMBOLS or max(low) > 2**62:
        return _Same(space)
    return _Symbols(space, rng, MOST_SYMBOLS if action or isinstance(space, spaces.Discrete) else GROUP)


class SpaceDisguise:
    """A disguise of one space's members.

    Args:
        plain: the space.
        rng: random numbers that it is drawn by; None: no disguise.
        action: whether it is an action space, whose disguise has the same bounds.

    Attributes:
        space: the space of disguised members.
    """

    def __init__(self, plain: Space, rng: np.random.Generator | None, action: bool = False) -> None:
        self.leaves = {
            leaf.path: _Same(leaf.space) if rng is None else _leaf_disguise(leaf.space, rng, action)
            for leaf in leaves(plain)
        }
        self.space = _rebuilt(plain, {path: leaf.space for path, leaf in self.leaves.items()})

    def apply(self, parts: Arrays) -> Arrays:
        """Disguises members ``{path: (N, *shape)}``."""
        return {path: self.leaves[path].apply(values) for path, values in parts.items()}

    def undo(self, parts: Arrays) -> Arrays:
        """Inverse of `apply`."""
        return {path: self.leaves[path].undo(values) for path, values in parts.items()}

    def mask(self, mask: Member) -> np.ndarray | None:
        """The legal choices of a space of one leaf after the disguise, ``(n,)``; None of another space."""
        leaf = self.leaves.get("")
        if leaf is None or (isinstance(mask, tuple) and None in mask):
            return None
        flat = np.concatenate([np.reshape(part, -1) for part in mask]) if isinstance(mask, tuple) else np.ravel(mask)
        if not isinstance(leaf, _Symbols):
            return flat
        return leaf.mask(flat) if len(flat) == sum(_choices(leaf.space)[1]) else None


def _rebuilt(space: Space, parts: Mapping[str, Space], path: str = "") -> Space:
    """The space with other leaves."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _rebuilt(child, parts, below) for key, below, child in children(space, path)})
    if isinstance(space, spaces.Tuple):
        return spaces.Tuple([_rebuilt(child, parts, below) for _, below, child in children(space, path)])
    return parts[path]


class PairDisguise:
    """A disguise of observations and actions.

    Args:
        observation_space: observation space.
        action_space: action space.
        seed: seed that it is drawn by.
        roles: what is disguised; None: drawn, too.
    """

    def __init__(self, observation_space: Space, action_space: Space, seed: int, roles: ROLES | None = "both") -> None:
        rng = np.random.default_rng(seed)
        kinds: tuple[ROLES, ...] = ("both", "observations", "actions")
        chosen = kinds[rng.integers(3)] if roles is None else roles
        self.observations = SpaceDisguise(observation_space, None if chosen == "actions" else rng)
        self.actions = SpaceDisguise(action_space, None if chosen == "observations" else rng, action=True)

    @property
    def spaces(self) -> tuple[Space, Space]:
        """Observation and action space after the disguise."""
        return self.observations.space, self.actions.space

    def steps(self, steps: Steps) -> Steps:
        """Disguises steps of a stream."""
        return {
            **steps,
            "observation": self.observations.apply(steps["observation"]),
            "action": self.actions.apply(steps["action"]),
            "label": self.actions.apply(steps["label"]),
        }

    def statistics(self, statistics: Statistics | None) -> Statistics | None:
        """The statistics of disguised data, of those of the data."""
        if statistics is None:
            return None
        disguised: dict[str, Any] = {}
        for path, given in statistics["observation"].items():
            moments = (np.asarray(given[part], np.float64).reshape(-1) for part in ("mean", "std"))
            mean, deviation = self.observations.leaves[path].moments(*moments)
            disguised[path] = {"mean": mean, "std": deviation}
        return {**statistics, "observation": disguised}
