"""Lays what a source holds into its spaces: every value is a member afterwards, or is refused, or counted."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import DatasetError, SpaceMismatchError
from ..spaces import Action, Arrays, Observation, flatten, leaf_array, leaves
from ..trajectories.schema import Episode
from ..utils.membership import bounds, outside, unlike
from .arrays import as_array, flags, vector
from .base import LoggedEpisode, Source
from .precision import single_suffices
from .report import Report

LARGEST = 2**31 - 1  # most bytes of an episode's observations: Parquet lists are counted with 32 bits
EXACT = 2**53  # from here on, double precision rounds whole numbers
REFUSE, CLIP, WIDEN, SKIP = "refuse", "clip", "widen", "skip"
OUT_OF_BOUNDS = (REFUSE, CLIP, WIDEN, SKIP)


class Fitter:
    """Lays episodes into the spaces of a source.

    Args:
        source: where the episodes come from.
        report: counts what is clipped or rounded.
        out_of_bounds: what to do with numbers outside of the bounds of their Box: ``refuse`` them, ``clip`` them to
            the bounds, or ``widen`` the space, which has been done before then; ``skip`` is up to the caller.
    """

    def __init__(self, source: Source, report: Report, out_of_bounds: str = REFUSE) -> None:
        self.source, self.report, self.out_of_bounds = source, report, out_of_bounds

    def fit(self, episode: LoggedEpisode, where: str) -> Episode:
        """An episode as `TrajectoryWriter.write` takes it, every value a member of its space.

        Raises:
            DatasetError: if a value cannot be one; names the step.
        """
        reward = vector(episode["reward"], f"{where}: reward")
        if not len(reward):
            raise DatasetError(f"{where} has no steps; drop it.")
        observation = self._leaves(self.source.observation_space, episode["observation"], "observation", where)
        action = self._leaves(self.source.action_space, episode["action"], "action", where)
        lengths = {len(values) for values in (*observation.values(), *action.values())} | {len(reward)}
        if len(lengths) > 1:
            raise DatasetError(
                f"{where} has parts of different numbers of steps: {sorted(lengths)}; repair or drop it."
            )
        if sum(values.nbytes for values in observation.values()) > LARGEST:
            raise DatasetError(
                f"{where} has more than 2 GiB of observations; make its pictures smaller (--image-size 84)."
            )
        terminated, truncated = (flags(episode[name], f"{where}: {name}") for name in ("terminated", "truncated"))
        over = terminated | truncated
        if len(over) != len(reward):
            raise DatasetError(f"{where} has {len(over)} flags of ends for {len(reward)} steps; repair or drop it.")
        if over[:-1].any():
            raise DatasetError(
                f"{where}: step {int(np.flatnonzero(over)[0])} of {len(over)} ends the episode already; cut it there."
            )
        if not over[-1]:
            self.report.count("episodes without a recorded end, which count as truncated", where)
            truncated = np.arange(len(over)) == len(over) - 1
        fitted: Episode = {
            "observation": observation,
            "action": action,
            "label": action,
            "reward": self._reward(reward, where),
            "terminated": terminated,
            "truncated": truncated,
            "behaviour": episode.get("behaviour", "logged"),
            "seed": episode.get("seed", 0),
        }
        if "entity" in episode:
            fitted["entity"] = episode["entity"]
        if "time" in episode:
            fitted["time"] = episode["time"]
        return fitted

    def _reward(self, reward: np.ndarray, where: str) -> np.ndarray:
        """Rewards in single precision; what they lose by that is counted."""
        with np.errstate(over="ignore"):
            single = reward.astype(np.float32)
        wrong = ~np.isfinite(single)
        if wrong.any():
            step = int(np.argmax(wrong))
            raise DatasetError(
                f"{where}: the reward of step {step} is {reward[step]}; repair, scale or drop this episode."
            )
        if reward.dtype.itemsize > 4 and not single_suffices(reward.astype(np.float64)):
            self.report.count(
                "episodes whose rewards have more digits than single precision, in which they are stored", where
            )
        return single

    def _leaves(self, space: gymnasium.Space[object], values: Observation | Action, role: str, where: str) -> Arrays:
        """The values of every leaf in its type."""
        try:
            parts = flatten(space, values)
        except SpaceMismatchError as error:
            raise DatasetError(f"{where}: {role}: {error}") from error
        return {
            leaf.path: self._leaf(leaf.space, parts[leaf.path], f"{where}: {role} {leaf.path}".rstrip())
            for leaf in leaves(space)
        }

    def _leaf(self, space: gymnasium.Space[object], values: object, place: str) -> np.ndarray:
        """The values of one leaf in its type."""
        given = as_array(values, place, isinstance(space, spaces.Text))
        wanted = () if space.shape is None or isinstance(space, spaces.Text) else tuple(space.shape)
        if given.shape[1:] != wanted:
            raise DatasetError(f"{place} has steps of shape {given.shape[1:]}, the space {space} has {wanted}.")
        kind = space.dtype
        if kind is not None and kind.kind == "f" and given.dtype.kind in "biuf":  # bounds hold in its precision
            if given.dtype.itemsize > kind.itemsize and not single_suffices(given.astype(np.float64)):
                self.report.count(
                    f"{place.split(': ')[-1]}: episodes with more digits than {kind} of its space holds", place
                )
            given = self._real(space, given, place)
        if given.dtype.kind == "O" and not isinstance(space, spaces.Text):
            raise DatasetError(f"{place} holds {given.reshape(-1)[:1].tolist()!r:.80}, no numbers.")
        if self.out_of_bounds == CLIP and isinstance(space, spaces.Box):
            given = self._clipped(space, given, place)
        wrong = outside(space, given)
        if wrong.any():
            step = int(np.flatnonzero(wrong)[0])
            raise OutOfBoundsError(
                f"{place}: step {step} is {str(given[step])[:80]}, no member of {space} ({int(wrong.sum())} such steps)"
                "; repair these values, describe the space that they are in, or say what to do (--out-of-bounds clip, "
                "widen or skip)."
            )
        return leaf_array(space, given)

    def _real(self, space: gymnasium.Space[object], values: np.ndarray, place: str) -> np.ndarray:
        """Numbers in the precision of their space; whole numbers that it would change are refused."""
        with np.errstate(over="ignore"):
            real = leaf_array(space, values)
        if values.dtype.kind in "iu" and real.dtype == np.float64 and np.abs(real).max(initial=0) > EXACT:
            step = int(np.argmax(np.abs(real.reshape(len(real), -1)).max(axis=1)))
            raise DatasetError(f"{place}: step {step} has whole numbers of more digits than {space.dtype} holds.")
        return real

    def _clipped(self, space: spaces.Box, values: np.ndarray, place: str) -> np.ndarray:
        """Numbers cut to the bounds of the space; what is no number at all stays, to be refused."""
        low, high = bounds(space)
        beyond = ((values < low) | (values > high)) & ~unlike(space, values)
        self.report.count(f"{place.split(': ')[-1]}: numbers clipped to the bounds", place, int(beyond.sum()))
        return np.where(beyond, np.clip(values, low, high), values) if beyond.any() else values


class OutOfBoundsError(DatasetError):
    """A value of an episode is no member of its space."""


def widened(space: gymnasium.Space[object], low: Arrays, high: Arrays, path: str = "") -> gymnasium.Space[object]:
    """A space whose Boxes have room for the numbers seen.

    Args:
        space: the space as it was described.
        low: smallest numbers by the path of the leaf.
        high: largest numbers.
        path: path of this space, for nested ones.
    """
    paths = {id(leaf.space): leaf.path for leaf in leaves(space)}

    def rebuilt(part: gymnasium.Space[object]) -> gymnasium.Space[object]:
        if isinstance(part, spaces.Dict):
            return spaces.Dict({key: rebuilt(child) for key, child in part.spaces.items()})
        if isinstance(part, spaces.Tuple):
            return spaces.Tuple([rebuilt(child) for child in part.spaces])
        name = paths[id(part)]
        if not isinstance(part, spaces.Box) or name not in low:
            return part
        with np.errstate(over="ignore", invalid="ignore"):
            lows, highs = low[name].astype(part.dtype), high[name].astype(part.dtype)
        return spaces.Box(np.minimum(part.low, lows), np.maximum(part.high, highs), part.shape, part.dtype.type)

    return rebuilt(space)
