"""How near a model comes to logged actions, beside what simple rules would have done on the same rows."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from .learners import Classifier, Regressor, nearest
from .rows import Element, Rows

RESAMPLES = 2000
WORST = 8  # entities, episodes and times that a report lists
MODEL = "LDM"


class Estimate(TypedDict):
    """A mean and its 95 % interval, None where a single episode says nothing about others.

    Attributes:
        mean: mean.
        interval: lower and upper end.
    """

    mean: float
    interval: list[float] | None


class ElementResult(TypedDict):
    """One action element.

    Attributes:
        measure: ``agreement`` (share of rows with the logged choice) or ``error`` (mean absolute error).
        contenders: measured mean of the model and of each baseline.
        best_baseline: the baseline that is best.
        gain: how much better the model is than it, paired by rows; above 0 is better.
        verdict: ``better``, ``worse``, or ``as good`` where the interval of the gain holds 0.
    """

    measure: str
    contenders: dict[str, Estimate]
    best_baseline: str
    gain: Estimate
    verdict: str


def behaviour_of(train: Rows, elements: list[Element]) -> list[Classifier | None]:
    """What the log would have done, by element: boosted probabilities of choices, None for numbers."""
    return [
        Classifier(train.features, train.actions[:, place]) if element.is_choice else None
        for place, element in enumerate(elements)
    ]


def baselines(
    train: Rows, test: Rows, elements: list[Element], behaviour: list[Classifier | None]
) -> dict[str, np.ndarray]:
    """What each baseline proposes in the test rows, ``(N, E)``, after it has seen the training rows.

    Args:
        train: training rows.
        test: test rows.
        elements: elements of the action.
        behaviour: what `behaviour_of` has learned from the training rows.
    """
    usual = np.array([_usual(train.actions[:, place], element) for place, element in enumerate(elements)])
    boosted = np.empty_like(test.actions)
    for place, classifier in enumerate(behaviour):
        if classifier is not None:
            boosted[:, place] = classifier.likeliest(test.features)
        else:
            boosted[:, place] = Regressor(train.features, train.actions[:, place], "absolute_error")(test.features)
    return {
        "most frequent action": np.broadcast_to(usual, test.actions.shape),
        "last action again": np.where(np.isnan(test.previous), usual, test.previous),
        "nearest neighbour": train.actions[nearest(train.features, test.features)],
        "gradient boosting": boosted,
    }


def _usual(logged: np.ndarray, element: Element) -> float:
    """The most frequent choice, or the median."""
    if not element.is_choice:
        return float(np.median(logged))
    values, counts = np.unique(logged, return_counts=True)
    return float(values[counts.argmax()])


def misses(proposed: np.ndarray, logged: np.ndarray, element: Element) -> np.ndarray:
    """How far proposals ``(N,)`` are off: 1 for another choice, the absolute error of a number."""
    off: np.ndarray = (proposed != logged).astype(float) if element.is_choice else np.abs(proposed - logged)
    return off


def bootstrap_weights(episodes: int, seed: int = 0) -> np.ndarray:
    """How often each episode is drawn in each of `RESAMPLES` samples of episodes, ``(RESAMPLES, episodes)``."""
    drawn: np.ndarray = np.random.default_rng(seed).multinomial(episodes, np.full(episodes, 1 / episodes), RESAMPLES)
    return drawn


def mean_over_rows(rows: Rows, values: np.ndarray) -> Estimate:
    """The mean of values ``(N,)``, with an interval by the bootstrap over whole episodes (percentiles)."""
    sums, counts = rows.per_episode(values), rows.per_episode(np.ones(len(values)))
    interval = None
    if len(sums) > 1:
        drawn = bootstrap_weights(len(sums))
        means = (drawn @ sums) / (drawn @ counts)
        interval = [float(end) for end in np.percentile(means, [2.5, 97.5])]
    return {"mean": float(values.mean()), "interval": interval}


def compare(rows: Rows, others: dict[str, np.ndarray], elements: list[Element]) -> dict[str, ElementResult]:
    """Compares model and baselines in each element.

    Args:
        rows: test rows.
        others: proposals of the baselines, ``(N, E)`` each.
        elements: elements of the action.
    """
    found: dict[str, ElementResult] = {}
    for place, element in enumerate(elements):
        logged = rows.actions[:, place]
        off = {name: misses(values[:, place], logged, element) for name, values in others.items()}
        best = min(off, key=lambda name: float(off[name].mean()))
        own = misses(rows.proposed[:, place], logged, element)
        gain = mean_over_rows(rows, off[best] - own)
        low, high = gain["interval"] or (-np.inf, np.inf)
        contenders = {
            name: mean_over_rows(rows, 1 - values if element.is_choice else values)
            for name, values in {MODEL: own, **off}.items()
        }
        found[element.name] = {
            "measure": "agreement" if element.is_choice else "error",
            "contenders": contenders,
            "best_baseline": best,
            "gain": gain,
            "verdict": "better" if low > 0 else "worse" if high < 0 else "as good",
        }
    return found


class Difference(TypedDict):
    """Where the model differs from the log.

    Attributes:
        entity: entity, empty where the log names none.
        episode: number of the episode; None for a whole entity.
        time: time of its first step, empty where the log has none.
        rows: number of rows.
        miss: mean over rows and elements: share of other choices, errors of numbers in deviations of the logged ones.
        step: step of the episode with the largest difference.
        logged: logged action of this step.
        proposed: proposed action.
    """

    entity: str
    episode: int | None
    time: str
    rows: int
    miss: float
    step: int
    logged: str
    proposed: str


def mean_misses(rows: Rows, elements: list[Element]) -> np.ndarray:
    """How far the model is off in each row ``(N,)``, over all elements in comparable units (see `Difference`)."""
    total = np.zeros(len(rows.step))
    for place, element in enumerate(elements):
        deviation = 1.0 if element.is_choice else float(rows.actions[:, place].std()) or 1.0
        total += misses(rows.proposed[:, place], rows.actions[:, place], element) / deviation
    return total / len(elements)


def worst(rows: Rows, elements: list[Element], owners: np.ndarray, times: list[str]) -> list[Difference]:
    """The entities, and behind them the episodes, in which the model differs most from the log.

    Args:
        rows: test rows.
        elements: elements of the action.
        owners: entity of every episode of the stream.
        times: time of every episode of the stream.
    """
    off = mean_misses(rows, elements)
    owner = owners[rows.episodes][rows.episode]
    groups: list[tuple[str, int | None, np.ndarray]] = [
        (str(name), None, np.flatnonzero(owner == name)) for name in np.unique(owner.astype(str))
    ]
    episodes: list[tuple[str, int | None, np.ndarray]] = [
        (str(owners[number]), int(number), np.flatnonzero(rows.episode == place))
        for place, number in enumerate(rows.episodes)
    ]
    found: list[Difference] = []
    for kind in (groups if len(groups) > 1 else [], episodes):
        most = sorted(kind, key=lambda group: -float(off[group[2]].mean()))[:WORST]
        for name, number, members in most:
            row = members[off[members].argmax()]
            shown = (
                ", ".join(f"{e.name} {e.shown(v)}" for e, v in zip(elements, values[row], strict=True))
                for values in (rows.actions, rows.proposed)
            )
            logged, proposed = shown
            found.append(
                {
                    "entity": name,
                    "episode": number,
                    "time": times[rows.episodes[rows.episode[row]]],
                    "rows": len(members),
                    "miss": float(off[members].mean()),
                    "step": int(rows.step[row]),
                    "logged": logged,
                    "proposed": proposed,
                }
            )
    return found
