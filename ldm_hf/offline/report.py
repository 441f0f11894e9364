"""The report of an evaluation on logs: Markdown that a person reads, and a picture for each environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..utils.figures import png_figure
from ..utils.tables import markdown_table
from .agreement import MODEL, Difference, ElementResult, Estimate, mean_misses
from .evaluating import EnvironmentLogs, Judged, LogResults
from .off_policy import OffPolicy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DRAWN = 4  # elements of an action
MOST_POINTS = 3000
ASSUMPTIONS = """What these estimates assume:

* what happens next depends on the observation, the action and the few steps before it that the estimators see; where \
the log hides what its operators went by, or what the outcome depends on (a price paid long ago, a phone call), they \
are wrong without notice;
* the log has tried what the model would do, in situations like those that the model would get into; operators who \
always decide alike leave nothing to compare with;
* the future is like the log: the same plant, the same prices, episodes of the same lengths.

The intervals (95 %) come from drawing test episodes again. They do not cover errors of these assumptions, nor of the \
regression behind the estimates."""


def logs_report(results: LogResults, pictures: dict[str, str] | None = None) -> str:
    """The report in Markdown.

    Args:
        results: results of `evaluate_logs`.
        pictures: file of the picture of each environment, relative to the report.
    """
    parts = [
        f"# {Path(results['model']).name} against the log {Path(results['logs']).name}",
        f"`{results['command']}`",
    ]
    for name, found in results["environments"].items():
        parts += [f"## {name}", *_environment(found)]
        if pictures and name in pictures:
            parts.append(f"![logged and proposed actions]({pictures[name]})")
        parts += _differences(found["worst"])
        parts += _returns(found["off_policy"])
        parts += [f"* {note}" for note in found["notes"]]
    parts += [f"Not judged: {message}" for message in results.get("failures", {}).values()]
    return "\n\n".join(parts) + "\n"


def headline(name: str, found: EnvironmentLogs) -> str:
    """One sentence on an environment, as it is printed behind an evaluation."""
    verdicts = [_verdict(element, result) for element, result in found["elements"].items()]
    return f"{name}: " + "; ".join(verdicts)


def _environment(found: EnvironmentLogs) -> list[str]:
    """What was judged, and the tables of the elements."""
    who = f" of {len(found['entities'])} entities" if found["entities"] else ""
    trained = f"**Careful: {found['trained_on']}.**" if found["leak"] else f"Held out: {found['trained_on']}."
    parts = [
        trained,
        f"Judged on {found['test_rows']:,} decisions in {found['test_episodes']:,} test episodes{who}. The baselines "
        f"learned from {found['train_rows']:,} decisions in {found['train_episodes']:,} others.",
        "\n".join(f"* {_verdict(element, result)}" for element, result in found["elements"].items()),
    ]
    for measure, title in (
        ("agreement", "Share of decisions in which the logged choice is proposed"),
        ("error", "Mean distance between the logged and the proposed number"),
    ):
        chosen = {name: result for name, result in found["elements"].items() if result["measure"] == measure}
        if chosen:
            contenders = list(next(iter(chosen.values()))["contenders"])
            rows = [
                [name, *(_shown(result["contenders"][each], measure) for each in contenders)]
                for name, result in chosen.items()
            ]
            parts.append(f"{title} (95 % interval over episodes):\n\n{markdown_table(['element', *contenders], rows)}")
    return parts


def _verdict(name: str, result: ElementResult) -> str:
    """One sentence on an element."""
    best, measure = result["best_baseline"], result["measure"]
    own, other = (_shown(result["contenders"][each], measure, False) for each in (MODEL, best))
    what = "agrees with the log in" if measure == "agreement" else "is off by"
    comparison = {
        "better": f"better than the best baseline, {best} ({other})",
        "worse": f"WORSE than {best} ({other}), which is simpler",
        "as good": f"no clear difference from {best} ({other})",
    }[result["verdict"]]
    return f"**{name}**: the model {what} {own}: {comparison}"


def _shown(estimate: Estimate, measure: str, interval: bool = True) -> str:
    """A mean and its interval as shares or numbers."""

    def show(value: float) -> str:
        return f"{100 * value:.1f} %" if measure == "agreement" else f"{value:.4g}"

    ends = estimate["interval"]
    if not interval or ends is None:
        return show(estimate["mean"])
    return f"{show(estimate['mean'])} ({show(ends[0]).removesuffix(' %')}–{show(ends[1]).removesuffix(' %')})"


def _differences(found: list[Difference]) -> list[str]:
    """The tables of the entities and episodes in which model and log differ most."""
    parts = []
    for title, kind in (("entities", True), ("episodes", False)):
        rows = [
            [
                entry["entity"],
                "all" if entry["episode"] is None else str(entry["episode"]),
                entry["time"],
                f"{entry['rows']:,}",
                f"{entry['miss']:.3g}",
                f"step {entry['step']}: {entry['logged']}; model: {entry['proposed']}",
            ]
            for entry in found
            if (entry["episode"] is None) == kind
        ]
        if rows:
            header = ["entity", "episode", "time", "decisions", "difference", "largest"]
            empty = [place for place in (0, 2) if not any(row[place] for row in rows)]
            kept = [place for place in range(len(header)) if place not in empty]
            table = markdown_table(
                [header[place] for place in kept],
                [[row[place] for place in kept] for row in rows],
                right=("decisions", "difference"),
            )
            parts.append(
                f"The {title} in which they differ most (share of other choices; numbers in standard deviations of "
                f"the log):\n\n{table}"
            )
    return parts


def _returns(found: OffPolicy | None) -> list[str]:
    """What the model would earn."""
    if found is None:
        return []
    rows = [
        ["as logged", _shown(found["logged"], "return"), "test episodes"],
        ["model, fitted Q evaluation", _shown(found["fitted_q"], "return"), "a regression of what is still to come"],
    ]
    if found["doubly_robust"] is not None and found["support"] is not None:
        told = found["support"]
        rows.append(
            [
                "model, doubly robust",
                _shown(found["doubly_robust"], "return"),
                f"corrected by {told['effective']:.0f} effective of {told['episodes']} episodes, in the first "
                f"{told['steps']} of {told['longest']} steps",
            ]
        )
    what = "return of an episode" if found["horizon"] is None else f"return of {found['horizon']} steps"
    table = markdown_table([what, "estimate", "by"], rows, right=("estimate",))
    return [
        f"If the model had decided:\n\n{table}",
        ASSUMPTIONS,
        *(f"* {note[0].upper()}{note[1:]}." for note in found["notes"]),
    ]


def draw_logs(judged: Judged, path: str | Path) -> None:
    """Draws logged against proposed actions, and the episode in which they differ most, as a PNG.

    Args:
        judged: rows behind the results of an environment.
        path: PNG file to write; its folder is made.

    Raises:
        MissingExtraError: without matplotlib.
    """
    rows, elements = judged.rows, judged.elements[:MOST_DRAWN]
    off = rows.per_episode(mean_misses(rows, judged.elements)) / rows.per_episode(np.ones(len(rows.step)))
    members = np.flatnonzero(rows.episode == off.argmax())
    with png_figure(path, (9, 2.8 * len(elements)), dpi=100) as figure:
        panels = figure.subplots(len(elements), 2, squeeze=False, width_ratios=(1, 2))
        for place, (element, (left, right)) in enumerate(zip(elements, panels, strict=True)):
            logged, proposed = rows.actions[:, place], rows.proposed[:, place]
            if element.is_choice:
                _draw_choices(left, logged, proposed)
            else:
                thin = slice(None, None, max(1, len(logged) // MOST_POINTS))
                left.plot(logged[thin], proposed[thin], ".", markersize=2, alpha=0.4)
                ends = [min(logged.min(), proposed.min()), max(logged.max(), proposed.max())]
                left.plot(ends, ends, color="0.5", linewidth=0.8)
            left.set(xlabel=f"{element.name}, logged", ylabel="proposed")
            where = "steps-mid" if element.is_choice else "default"
            right.plot(rows.step[members], logged[members], drawstyle=where, label="logged")
            right.plot(rows.step[members], proposed[members], "--", drawstyle=where, label="proposed")
            right.set(xlabel=f"step of episode {rows.episodes[off.argmax()]}, where they differ most")
            right.legend(frameon=False)
            right.spines[["top", "right"]].set_visible(False)


def _draw_choices(axes: Axes, logged: np.ndarray, proposed: np.ndarray) -> None:
    """How often each logged choice met each proposed one, as the area of a circle."""
    pairs, counts = np.unique(np.stack([logged, proposed]), axis=1, return_counts=True)
    same = pairs[0] == pairs[1]
    for chosen, colour in ((same, "tab:blue"), (~same, "tab:red")):
        axes.scatter(
            pairs[0, chosen], pairs[1, chosen], s=300 * counts[chosen] / counts.max(), color=colour, alpha=0.7
        )
    axes.locator_params(integer=True)
