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
    """Estimates of the return of an episode, or of its pieces where fitted Q evaluation does not look to its end.

    Attributes:
        horizon: steps of a piece; None if returns are those of whole episodes.
        logged: return of the test episodes as they were logged.
        fitted_q: fitted Q evaluation.
        doubly_robust: doubly robust estimate; None where actions are numbers, or returns those of pieces.
        support: how far the log can answer; None where there is no doubly robust estimate.
        sweeps: steps that fitted Q evaluation looks ahead.
        notes: what limits these estimates.
    """

    horizon: int | None
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
            if len(following):
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
    longest = int(max(train.step.max(), test.step.max())) + 1
    horizon = fitted.sweeps if longest > SWEEPS else None
    notes = []
    doubly_robust = support = None
    if horizon is not None:
        notes.append(
            f"fitted Q evaluation looks {horizon} steps ahead, episodes have up to {longest:,}: they are compared in "
            f"pieces of {horizon} steps, and what comes of a decision later than that is left out"
        )
    if behaviour and horizon is None:
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
    elif not behaviour:
        low, high = train.actions.min(0), train.actions.max(0)
        outside = ((test.proposed < low) | (test.proposed > high)).any(axis=1).mean()
        notes.append(
            "the actions are numbers, of which the log never has exactly the proposed one: there are no importance "
            "weights, and nothing corrects the errors of fitted Q evaluation"
        )
        if outside > 0.01:
            notes.append(f"{outside:.0%} of the proposals are beyond all actions logged")
    starts, earned = _pieces(test, horizon)
    return {
        "horizon": horizon,
        "logged": _mean(earned, test.episode[starts]),
        "fitted_q": _mean(value[starts], test.episode[starts]),
        "doubly_robust": doubly_robust,
        "support": support,
        "sweeps": fitted.sweeps,
        "notes": notes,
    }


def _pieces(rows: Rows, horizon: int | None) -> tuple[np.ndarray, np.ndarray]:
    """First rows of the pieces of all episodes ``(P,)``, and the rewards of each together ``(P,)``.

    A rest at the end of an episode that is shorter than a piece is left out, unless it is the whole episode.
    """
    if horizon is None:
        return np.flatnonzero(rows.step == 0), rows.returns
    ends = np.append(np.flatnonzero(rows.step[1:] == 0) + 1, len(rows.step))
    left = np.repeat(ends, np.diff(ends, prepend=0)) - np.arange(len(rows.step))  # rows of the episode from here on
    starts = np.flatnonzero((rows.step % horizon == 0) & ((left >= horizon) | (rows.step == 0)))
    total = np.append(0.0, np.cumsum(rows.reward))
    return starts, total[starts + np.minimum(left[starts], horizon)] - total[starts]


def _mean(values: np.ndarray, episode: np.ndarray) -> Estimate:
    """The mean of values ``(P,)`` of some episodes ``(P,)``, and its bootstrap interval over episodes."""
    _, owners = np.unique(episode, return_inverse=True)
    sums, numbers = np.bincount(owners, values), np.bincount(owners)
    interval = None
    if len(sums) > 1:
        weights = bootstrap_weights(len(sums))
        interval = [float(end) for end in np.percentile(weights @ sums / (weights @ numbers), [2.5, 97.5])]
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
