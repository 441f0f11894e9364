"""A dataset at a glance: numbers per environment, and returns as histograms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..utils.figures import png_figure
from .dataset import open_dataset
from .streams import Stream
from .validation import agreement


@dataclass(frozen=True)
class Summary:
    """One environment in numbers.

    Args:
        name: name of the environment.
        domain: domain that it belongs to.
        episodes: number of episodes.
        steps: number of steps.
        returns: sum of rewards of every episode ``(episodes,)``.
        agreement: share of steps whose label is the action that was taken.
        scores: mean returns of random actions and of the reference, where they were measured.
    """

    name: str
    domain: str
    episodes: int
    steps: int
    returns: np.ndarray
    agreement: float
    scores: dict[str, float]


def describe(path_or_repo: str | Path, names: list[str] | None = None) -> list[Summary]:
    """Summaries of the environments of a dataset; see `open_dataset` for the arguments and errors."""
    streams = open_dataset(path_or_repo, names).values()
    return [_summary(stream) for stream in tqdm(streams, desc="describe", unit=" environments", leave=False)]


def _summary(stream: Stream) -> Summary:
    return Summary(
        name=stream.info.name,
        domain=stream.info.domain,
        episodes=stream.num_episodes,
        steps=stream.num_steps,
        returns=stream.episode_returns(),
        agreement=float(agreement(stream.slice(0, stream.num_steps)).mean()),
        scores={name: score["mean"] for name, score in stream.info.scores.items()},
    )


def draw_returns(summary: Summary, path: str | Path) -> None:
    """Draws the returns of an environment's episodes as a histogram, with lines at the scores.

    Args:
        summary: summary of the environment.
        path: path of the PNG.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    with png_figure(path, (5, 3), dpi=120) as figure:
        axes = figure.subplots()
        axes.hist(summary.returns, bins=min(40, max(5, summary.episodes // 5)), color="0.6")
        for number, (name, value) in enumerate(summary.scores.items()):
            axes.axvline(value, color=f"C{number}", label=f"{name}: {value:.4g}")
        axes.set(title=f"{summary.name}: {summary.episodes:,} episodes", xlabel="return", ylabel="episodes")
        if summary.scores:
            axes.legend()
