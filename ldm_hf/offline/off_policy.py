"""What return a model would have had, from logs alone: fitted Q evaluation, and a doubly robust estimate.

Both judge the policy that takes the model's proposal at every step. They are written here, on scikit-learn: d3rlpy
2.8.1 asks for exactly gymnasium 1.0.0, scope-rl 0.2.1 stands on d3rlpy, and both take a policy to be a function of the
current observation, which one that looks back is not.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from .agreement import Estimate, bootstrap_weights
from .learners import Classifier, Regressor
from .rows import Rows

SWEEPS = 120  # of fitted Q evaluation, at most: so many steps does it look ahead
DRAWN = 6000  # rows that a sweep learns from, at most
LEAST_PROBABILITY = 0.02  # of a logged action: a smaller estimate is none
LARGEST_WEIGHT = 50.0  # of an episode
LEAST_SHARE, LEAST_EPISODES = 0.1, 5.0  # of the test episodes: with fewer effective ones, weights are no longer used


class Support(TypedDict):
    """How far the log can answer for the model's actions.

    Attributes:
        steps: steps from the beginning of an episode that importance weights were used in.
        longest: steps of the longest test episode.
        effective: effective number of test episodes at the last of these steps.
        episodes: number of test episodes.
        unlikely: share of test rows in which the log would hardly ever have done what the model proposes.
    """

    steps: int
    longest: int
    effective: float
    episodes: int
    unlikely: float


class OffPolicy(TypedDict):
    """Estimates of the return of an episode.

    Attributes:
        logged: return of the test episodes as they were logged.
        fitted_q: fitted Q evaluation.
        doubly_robust: doubly robust estimate; None where actions are numbers.
        support: how far the log can answer; None where actions are numbers.
        sweeps: steps that fitted Q evaluation looks ahead.
        notes: what limits these estimates.
    """

    logged: Estimate
    fitted_q: Estimate
    doubly_robust: Estimate | None
    support: Support | None
    sweeps: int
    notes: list[str]


class FittedQ:
    """Fitted Q evaluation (Le et al. 2019): what is still to come in an episode after an action, then the model's.

    Each sweep looks one step further ahead: gradient boosting predicts reward + value of the next row from the features
    of a row and its action, on rows drawn anew.

    Args:
        rows: training rows.
    """

    def __init__(self, rows: Rows) -> None:
        inputs = np.concatenate([rows.features, rows.actions], axis=1)
        own = np.concatenate([rows.features, rows.proposed], axis=1)
        goes_on = ~rows.last
        following = own[np.flatnonzero(goes_on) + 1]
        later = np.zeros(len(rows.step))
        rng = np.random.default_rng(0)
        self.sweeps = min(int(rows.step.max()) + 1, SWEEPS)
        for _ in range(self.sweeps):
            drawn = rng.permutation(len(later))[:DRAWN]
            self._regressor = Regressor(inputs[drawn], (rows.reward + later)[drawn])
            later[goes_on] = self._regressor(following)

    def __call__(self, rows: Rows, actions: np.ndarray) -> np.ndarray:
        """Expected sum of rewards from each row on if it takes ``actions`` ``(N, E)``, ``(N,)``."""
        return self._regressor(np.concatenate([rows.features, actions], axis=1))


def estimate_returns(train: Rows, test: Rows, behaviour: list[Classifier]) -> OffPolicy:
    """Estimates the return of an episode in which the model acts; learns from training rows, judges by test rows.

    Args:
        train: training rows.
        test: test rows.
        behaviour: what the log would have done, by element; empty unless all elements are choices.
    """
    fitted = FittedQ(train)
    value, q = fitted(test, test.proposed), fitted(test, test.actions)
    starts = value[test.step == 0]
    notes = []
    doubly_robust = support = None
    if behaviour:
        doubly_robust, support = _doubly_robust(test, behaviour, value, q)
        if support["steps"] < support["longest"]:
            notes.append(
                f"the log does what the model proposes too seldom to go by beyond step {support['steps']} of "
                f"{support['longest']}: from there on the doubly robust estimate is that of fitted Q evaluation"
            )
        if support["unlikely"] > 0.05:
            notes.append(
                f"in {support['unlikely']:.0%} of the rows the log would hardly ever have done what the model "
                "proposes: what comes of that is a guess"
            )
    else:
        low, high = train.actions.min(0), train.actions.max(0)
        outside = ((test.proposed < low) | (test.proposed > high)).any(axis=1).mean()
        notes.append(
            "the actions are numbers, of which the log never has exactly the proposed one: there are no importance "
            "weights, and nothing corrects the errors of fitted Q evaluation"
        )
        if outside > 0.01:
            notes.append(f"{outside:.0%} of the proposals are beyond all actions logged")
    if fitted.sweeps <= train.step.max():
        notes.append(f"fitted Q evaluation looks {fitted.sweeps} steps ahead, and leaves out what comes after them")
    return {
        "logged": _mean(test.returns),
        "fitted_q": _mean(starts),
        "doubly_robust": doubly_robust,
        "support": support,
        "sweeps": fitted.sweeps,
        "notes": notes,
    }


def _mean(values: np.ndarray) -> Estimate:
    """The mean over episodes ``(K,)`` and its bootstrap interval."""
    interval = None
    if len(values) > 1:
        means = bootstrap_weights(len(values)) @ values / len(values)
        interval = [float(end) for end in np.percentile(means, [2.5, 97.5])]
    return {"mean": float(values.mean()), "interval": interval}


def _doubly_robust(
    test: Rows, behaviour: list[Classifier], value: np.ndarray, q: np.ndarray
) -> tuple[Estimate, Support]:
    """The weighted doubly robust estimate (Thomas & Brunskill 2016), as long as enough episodes have weight.

    With weights w that are normalised at each step, it is the mean of V at the start plus, step by step, the weighted
    mean of reward + V of the next row - Q of the row and its action: what the log contradicts Q in, where it does what
    the model would do.
    """
    logged, proposed = np.ones(len(test.step)), np.ones(len(test.step))
    for place, classifier in enumerate(behaviour):  # independent of each other, given the features
        logged *= classifier.of(test.features, test.actions[:, place])
        proposed *= classifier.of(test.features, test.proposed[:, place])
    same = (test.actions == test.proposed).all(axis=1)
    following = np.append(value[1:], 0.0) * ~test.last
    count, longest = len(test.episodes), int(test.step.max()) + 1
    ratio, error = np.ones((count, longest)), np.zeros((count, longest))  # an episode that is over keeps its weight
    ratio[test.episode, test.step] = same / np.maximum(logged, LEAST_PROBABILITY)
    error[test.episode, test.step] = test.reward + following - q
    weight = np.ones((count, longest))
    for step in range(longest):
        weight[:, step] = np.minimum((weight[:, step - 1] if step else 1.0) * ratio[:, step], LARGEST_WEIGHT)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.nan_to_num(weight.sum(0) ** 2 / (weight**2).sum(0))
    enough = effective >= max(LEAST_EPISODES, LEAST_SHARE * count)
    steps = longest if enough.all() else int(enough.argmin())
    drawn = np.concatenate([np.ones((1, count)), bootstrap_weights(count)])
    starts = np.zeros(count)
    starts[test.episode[test.step == 0]] = value[test.step == 0]
    estimates = drawn @ starts / count
    if steps:
        total = drawn @ weight[:, :steps]
        corrections = drawn @ (weight * error)[:, :steps]
        estimates += np.divide(corrections, total, out=np.zeros_like(total), where=total > 0).sum(axis=1)
    interval = [float(end) for end in np.percentile(estimates[1:], [2.5, 97.5])] if count > 1 else None
    support: Support = {
        "steps": steps,
        "longest": longest,
        "effective": float(effective[steps - 1]) if steps else 0.0,
        "episodes": count,
        "unlikely": float((proposed < LEAST_PROBABILITY).mean()),
    }
    return {"mean": float(estimates[0]), "interval": interval}, support
