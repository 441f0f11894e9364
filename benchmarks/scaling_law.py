"""The law that the runs of a scaling study follow, with intervals, and what it implies; see scaling.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.special import expit, logit
from tqdm.auto import tqdm

from ldm_hf.rollouts.returns import BAR

EXPONENTS = np.arange(4, 101) / 100
LEAST = 5  # runs for a fit of four numbers
RESAMPLES = 1000
Entry = dict[str, Any]


def loss_of(entry: Entry) -> float:
    """Held-out loss of a run."""
    return float(np.mean([*entry["losses"].values()]))


def share_of(entry: Entry) -> float:
    """Share of the environments in which a run reaches 80 % of the reference."""
    return float(np.mean([value >= BAR for value in entry["scores"].values()]))


@dataclass(frozen=True)
class Law:
    """loss = floor + size / N^exponent + data / D^exponent, with N weights and D transitions in millions."""

    floor: float
    size: float
    data: float
    exponent: float

    def loss(self, weights: Any, transitions: Any) -> Any:
        """The loss that a model of so many weights has after so many transitions, both in millions."""
        return self.floor + self.size * weights**-self.exponent + self.data * transitions**-self.exponent


def fitted(points: np.ndarray) -> Law:
    """The law that fits best to weights and transitions in millions and losses ``(runs, 3)``."""
    weights, transitions, losses = points.T

    def solve(exponent: float) -> tuple[float, Law]:
        terms = np.stack([np.ones(len(points)), weights**-exponent, transitions**-exponent], 1)
        numbers, error = nnls(terms / losses[:, None], np.ones(len(points)))
        return error, Law(*map(float, numbers), float(exponent))

    return min(map(solve, EXPONENTS), key=lambda found: found[0])[1]


@dataclass(frozen=True)
class Reach:
    """The share of environments at 80 % by the loss: logit(share) = slope log(loss) + height."""

    slope: float
    height: float

    def share(self, loss: float) -> float:
        """The share that a model of this loss reaches."""
        return float(expit(self.slope * np.log(loss) + self.height))


def reach(losses: np.ndarray, shares: np.ndarray, environments: int) -> Reach:
    """The line through losses and shares ``(runs,)``; none and all of the environments count as half of one."""
    half = 0.5 / environments
    slope, height = np.polyfit(np.log(losses), logit(shares.clip(half, 1 - half)), 1)
    return Reach(float(slope), float(height))


def conclusions(runs: list[Entry], release: list[float], goal: Entry, seed: int = 0) -> Entry:
    """The law, its intervals, the best size of a release, and what a large model should reach.

    Args:
        runs: all runs.
        release: minutes of training to choose a size for.
        goal: weights and transitions of the large model.
        seed: seed of the resampling.
    """
    points = np.array([[run["weights"] / 1e6, run["transitions"] / 1e6, loss_of(run)] for run in runs])
    shares, environments = np.array([share_of(run) for run in runs]), len(runs[0]["losses"])
    draws = np.random.default_rng(seed).integers(len(runs), size=(RESAMPLES, len(runs)))
    # as many different runs as numbers would be fitted exactly
    samples = [np.arange(len(runs)), *(draw for draw in draws if len(set(draw)) >= LEAST)]
    laws = [fitted(points[sample]) for sample in tqdm(samples, desc="fit", leave=False)]
    lines = [reach(points[sample, 2], shares[sample], environments) for sample in samples]

    def told(values: Sequence[float]) -> dict[str, Any]:
        """The value of the fit to all runs, and the interval of the others."""
        return {"value": values[0], "interval": np.percentile(values[1:], [2.5, 97.5]).tolist()}

    weights = {run["size"]: run["weights"] / 1e6 for run in runs}
    speeds = {
        size: np.median([run["transitions"] / 1e6 / run["trained_minutes"] for run in runs if run["size"] == size])
        for size in weights
    }
    chosen = {}
    for minutes in release:
        losses = {size: [law.loss(weights[size], speeds[size] * minutes) for law in laws] for size in weights}
        best = [min(losses, key=lambda size: losses[size][number]) for number in range(len(laws))]
        share = Counter(best[1:])[best[0]] / len(best[1:])
        chosen[f"{minutes:g}"] = {"size": best[0], "loss": losses[best[0]][0], "share_of_resamples": share}

    reached = [law.loss(goal["weights"] / 1e6, goal["transitions"] / 1e6) for law in laws]
    won = [line.share(loss) for line, loss in zip(lines, reached, strict=True)]
    found: Entry = {
        "law": {name: told([asdict(law)[name] for law in laws]) for name in asdict(laws[0])},
        "reach": asdict(lines[0]),
        "error": float(np.abs(laws[0].loss(*points[:, :2].T) / points[:, 2] - 1).mean()),
        "release": chosen,
        "goal": {**goal, "loss": told(reached), "share": told(won)},
    }
    longest = np.array([run["minutes"] == max(run["minutes"] for run in runs) for run in runs])
    if (~longest).sum() >= LEAST:  # does it hold beyond the runs that it was fitted to?
        before = fitted(points[~longest])
        found["error_longest"] = float(np.abs(before.loss(*points[longest, :2].T) / points[longest, 2] - 1).mean())
    return found


def sentences(found: Entry, runs: list[Entry], steps: int) -> list[str]:
    """What the law says, in words."""
    law, goal = found["law"], found["goal"]
    floor, size, data, exponent = (law[name]["value"] for name in ("floor", "size", "data", "exponent"))
    largest = max(runs, key=lambda run: run["weights"] * run["transitions"])
    orders = np.log10(goal["weights"] * goal["transitions"] / (largest["weights"] * largest["transitions"]))
    low, high = law["exponent"]["interval"]
    lines = [
        f"loss = {floor:.3g} + {size:.3g} / N^{exponent:.2f} + {data:.3g} / D^{exponent:.2f}, N and D in millions; "
        f"exponent {low:.2f} to {high:.2f}; mean error {found['error']:.1%}"
    ]
    if "error_longest" in found:
        lines[0] += f", of the longest runs by a fit to the others {found['error_longest']:.1%}"
    lines += [
        f"A release trained for {minutes} minutes on these cores: {best['size']:g}M, loss {best['loss']:.3g} "
        f"(best of the sizes in {best['share_of_resamples']:.0%} of the resamples)"
        for minutes, best in found["release"].items()
    ]
    (low, high), (least, most) = goal["loss"]["interval"], goal["share"]["interval"]
    billions, times = goal["transitions"] / 1e9, goal["transitions"] / steps
    lines.append(
        f"{goal['parameters'] / 1e6:.0f}M parameters after {billions:.0f} billion transitions, a day of one H100: loss "
        f"{goal['loss']['value']:.3g} ({low:.3g} to {high:.3g}), {goal['share']['value']:.0%} of the environments at "
        f"80 % ({least:.0%} to {most:.0%}). This is an extrapolation over {orders:.1f} orders of magnitude of compute, "
        "to more layers and a longer window, which no interval covers, and as if there were "
        f"{times:,.0f} times the {steps / 1e6:.2g} million transitions of these data."
    )
    return lines
