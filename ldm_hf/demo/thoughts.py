"""What the model thinks, in words and numbers for a person: its actions, their probabilities, what it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layout_ldm import EnvironmentLayout
from ..serving.rooms import Stream
from ..spaces import flatten, leaves
from .sharing import Chosen

MOST = 8  # bars that are shown
LARGEST_CHOICE = 10_000  # choices of a scalar whose probabilities are computed


@dataclass(frozen=True)
class Bar:
    """One line of what the model chose between.

    Args:
        label: name of the choice, or of the number.
        share: from 0 to 1: a probability, or where a number is between its bounds.
        text: the same for a person.
        chosen: whether it was chosen.
    """

    label: str
    share: float
    text: str
    chosen: bool


def bars(layout: EnvironmentLayout, chosen: Chosen, names: Sequence[str] = ()) -> list[Bar]:
    """What the model chose between in one step, the most likely first.

    A single choice is shown with its alternatives; of an action of several scalars, each is shown with what was chosen
    for it.

    Args:
        layout: the environment.
        chosen: from `SharedModel.act`.
        names: names of the choices of a discrete action.
    """
    codec = layout.actions
    scalars = _scalars(layout)
    if len(scalars) == 1 and not codec.continuous.any():
        shares = _shares(chosen.logits, codec.sizes, scalars[0])
        if chosen.legal is not None and chosen.legal.any() and len(chosen.legal) >= len(shares):
            shares = np.where(chosen.legal[: len(shares)], shares, 0)
            shares /= max(shares.sum(), 1e-12)
        best = np.argsort(-shares, kind="stable")[:MOST]
        value = _position(chosen, layout, 0)
        start = int(np.ravel(getattr(layout.action_space, "start", 0))[0]) if np.size(value) else 0
        return [
            Bar(
                names[place] if place < len(names) else f"action {place + start}",
                float(shares[place]),
                f"{shares[place]:.0%}",
                bool(np.ravel(value)[0] - start == place),
            )
            for place in best
        ]
    found = []
    for number, elements in enumerate(scalars[:MOST]):
        value = _position(chosen, layout, number)
        label = f"action {number}" if len(scalars) > 1 else "action"
        if codec.continuous[elements[0]]:
            share = (float(np.clip(chosen.means[elements[0]], -1, 1)) + 1) / 2
            error = float(chosen.deviations[elements[0]])
            found.append(Bar(label, share, f"{float(value):.3g}, ± {error / 2:.0%} of its range", True))
        else:
            shares = _shares(chosen.logits, codec.sizes, elements)
            found.append(Bar(label, float(shares.max()), f"{value}: {shares.max():.0%}", True))
    return found


def certainty(layout: EnvironmentLayout, chosen: Chosen) -> float:
    """How sure the model is, from 0 to 1: the mean probability of its most likely choices, or one minus the expected
    error of its numbers."""
    sizes = layout.actions.sizes
    found = [
        float(_softmax(chosen.logits[element, :size]).max()) if size else 1 - float(chosen.deviations[element]) / 2
        for element, size in enumerate(sizes)
    ]
    return float(np.clip(np.mean(found), 0, 1)) if found else 1.0


def _scalars(layout: EnvironmentLayout) -> list[list[int]]:
    """The elements of each scalar of an action: several where it is written in digits."""
    found: list[list[int]] = []
    owners: list[tuple[Any, int]] = layout.actions.owner
    for element, (leaf, index) in enumerate(owners):
        if not leaf.continuous and not leaf.leading[index]:
            found[-1].append(element)
        else:
            found.append([element])
    return found


def _shares(logits: np.ndarray, sizes: np.ndarray, elements: list[int]) -> np.ndarray:
    """Probabilities of the choices of a scalar; its digits are predicted independently of each other."""
    shares = np.ones(1)
    for element in elements:
        if len(shares) * sizes[element] > LARGEST_CHOICE:
            break
        shares = np.outer(shares, _softmax(logits[element, : sizes[element]])).ravel()
    return shares


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(np.asarray(scores, np.float64) - np.max(scores))
    shares: np.ndarray = weights / weights.sum()
    return shares


def _position(chosen: Chosen, layout: EnvironmentLayout, number: int) -> Any:
    """The value of one scalar of the action."""
    parts = flatten(layout.action_space, chosen.action)
    values = [item for leaf in leaves(layout.action_space) for item in np.ravel(np.asarray(parts[leaf.path]))]
    return values[number] if number < len(values) else ""


def numbers_seen(stream: Stream, most: int = 6) -> tuple[int, list[tuple[float, float]]]:
    """What a model without stored statistics has estimated in the stream so far.

    Returns:
        The number of steps, and mean and deviation of the first numbers of the observation.
    """
    statistics, seat = stream.room.state.statistics, int(stream.seats[0])
    count = int(statistics.count[seat])
    if not count:
        return 0, []
    mean = statistics.total[seat] / count
    deviation = np.sqrt(np.maximum(statistics.squares[seat] / count - mean**2, 0))
    pairs = zip((mean + statistics.origin[seat]).tolist(), deviation.tolist(), strict=True)
    return count, list(pairs)[:most]
