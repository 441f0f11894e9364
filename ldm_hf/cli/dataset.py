"""``ldm import`` and ``ldm dataset``: datasets from elsewhere, and what a dataset holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.table import Table

from ..errors import DatasetError, LDMError, SpaceMismatchError
from .options import Ids, console, names_of

if TYPE_CHECKING:
    import gymnasium

    from ..importers import Report
    from ..spaces import Action, Observation

dataset_app = typer.Typer(help="Checks, describes and documents a trajectory dataset.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder of the dataset.")]


def import_data(
    source: Annotated[str, typer.Argument(help="File, folder or Hub id of the data.")],
    kind: Annotated[
        str,
        typer.Option("--from", help="Format: minari, lerobot, jat, decision-transformer, rlds, d4rl or table."),
    ],
    to: Annotated[Path, typer.Option(help="Folder of the dataset; an existing dataset is continued.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the environment in the dataset; by default the source's name.")
    ] = None,
    env: Annotated[
        str | None,
        typer.Option(help="Environment of the catalogue or Gymnasium that the data are from: gives spaces and task."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task text: one sentence that says what is to be done.")] = None,
    domain: Annotated[str | None, typer.Option(help="Domain of the environment: energy, robotics, ...")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data.")] = None,
    columns: Annotated[
        Path | None, typer.Option(help="For table: YAML file that says what each column holds.")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(help="For jat, decision-transformer and rlds: config (subset) of a dataset that has several."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="For jat, decision-transformer and rlds: split to read; train by default.")
    ] = None,
    shifted_rewards: Annotated[
        bool, typer.Option("--shifted-rewards", help="For jat: move rewards, stored one step late, back by one step.")
    ] = False,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="For lerobot: width and height of stored images in pixels.")
    ] = None,
    observation: Annotated[
        str | None, typer.Option(help="For lerobot: features that are the observation, separated by commas.")
    ] = None,
    action: Annotated[str | None, typer.Option(help="For lerobot: feature that is the action.")] = None,
    last_step: Annotated[
        str | None,
        typer.Option(help="For rlds: drop the step with is_last (default), or keep its action and reward: action."),
    ] = None,
    repeated_ends: Annotated[
        str | None,
        typer.Option(help="For d4rl: terminals behind a terminal are each an episode, or a rest to drop."),
    ] = None,
    out_of_bounds: Annotated[
        str, typer.Option(help="Numbers outside of declared bounds: refuse, clip, widen (the bounds) or skip.")
    ] = "refuse",
    bad_episodes: Annotated[str, typer.Option(help="Episodes that cannot be used: refuse or skip.")] = "refuse",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how the data would be read, and write nothing.")
    ] = False,
) -> None:
    """Imports trajectories of another tool, or a log of decisions; the label of a step is the action that was taken."""
    from ..importers import Report, import_trajectories, open_source, preview
    from ..importers.formats import takes, takes_spaces
    from ..spaces import describe_difference

    described: dict[str, Any] = {"name": name, "task": task, "domain": domain, "licence": licence}
    options: dict[str, object] = {"columns": columns, "config": config, "split": split, "image_size": image_size}
    options |= {"observation": observation, "action": action, "last_step": last_step, "repeated_ends": repeated_ends}
    options["shifted_rewards"] = shifted_rewards or None
    options["bad_episodes"] = bad_episodes if takes(kind, "bad_episodes") else None
    if not env:
        opened = open_source(kind, source, **options)
    else:
        known, spaces = _environment(env)
        described = known | {key: value for key, value in described.items() if value}
        opened = open_source(kind, source, **options, spaces=spaces if takes_spaces(kind) else None)
        for which, wanted, found in zip(
            ("observation", "action"), spaces, (opened.observation_space, opened.action_space), strict=True
        ):
            differences = describe_difference(wanted, found)
            if differences:
                raise SpaceMismatchError(
                    f"{source} has a different {which} space than {env} ({'; '.join(differences)}); leave --env out."
                )
    decided: dict[str, Any] = {"out_of_bounds": out_of_bounds, "bad_episodes": bad_episodes}
    if dry_run:
        _show(preview(opened, **decided, **described))
        return
    info = import_trajectories(opened, to, **decided, **described)
    _show(Report.load(to / info.name))
    console.print(f"{info.name} is in {to / info.name}; check it with: ldm dataset validate {to}", highlight=False)


def _show(report: Report) -> None:
    """Prints the report of an import."""
    from ..importers.report import MOST_DISTINCT

    title = f"{report.name}: {report.episodes:,} episodes, {report.steps:,} steps"
    ends = f"{report.terminated:,} terminated, {report.truncated:,} truncated"
    returns = ", ".join(f"{name} {value:.6g}" for name, value in report.returns.items())
    table = Table(title=title, caption=f"{ends}; returns: {returns}")
    for header in ("column", "is", "read as", "unit", "first", "last", "missing", "different"):
        table.add_column(header, overflow="fold")
    for column in report.columns:
        cells = (column.name, column.role, column.how, column.unit, str(column.first), str(column.last))
        different = f"{column.distinct:,}{'+' if column.distinct >= MOST_DISTINCT else ''}" if column.distinct else ""
        table.add_row(*map(escape, cells), f"{column.missing:.1%}" if column.missing else "", different)
    console.print(table)
    notes = report.notes + [f"{column.name}: {note}" for column in report.columns for note in column.notes]
    skipped = [f"episode {number} is left out: {reason}" for number, reason in report.skipped.items()]
    for note in notes + skipped:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def _environment(name: str) -> tuple[dict[str, object], tuple[gymnasium.Space[Observation], gymnasium.Space[Action]]]:
    """The description of an environment of the catalogue or Gymnasium, and its observation and action space."""
    from ..environments import get_spec
    from ..environments.making import opened

    spec = get_spec(name)
    with opened(spec) as env:
        return spec.facts(), (env.observation_space, env.action_space)


@dataset_app.command()
def validate(
    folder: Folder,
    ids: Ids = None,
    reward_low: Annotated[float, typer.Option(help="Report rewards below this as errors.")] = -math.inf,
    reward_high: Annotated[float, typer.Option(help="Report rewards above this as errors.")] = math.inf,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Kind of finding not to report, such as duplicates; the option may be repeated."),
    ] = None,
) -> None:
    """Checks every step: values outside their space, NaN, ends of episodes, duplicates, rewards, labels.

    Exits with code 1 if there are errors.
    """
    from ..trajectories import validate as validate_dataset

    findings = validate_dataset(folder, names_of(ids), (reward_low, reward_high))
    findings = [finding for finding in findings if finding.kind not in (ignore or [])]
    for finding in findings:
        style = "red" if finding.level == "error" else "yellow"
        console.print(str(finding), style=style, markup=False, highlight=False, soft_wrap=True)
    errors = sum(finding.level == "error" for finding in findings)
    console.print(f"{folder}: {errors} error(s), {len(findings) - errors} warning(s)", highlight=False)
    if errors:
        raise typer.Exit(1)


@dataset_app.command()
def describe(
    folder: Annotated[str, typer.Argument(help="Folder or Hub id of the dataset.")],
    ids: Ids = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write a histogram of the returns of each environment to, as PNG.")
    ] = None,
) -> None:
    """Shows steps, episodes and returns of every environment."""
    from ..trajectories import describe as describe_dataset
    from ..trajectories import draw_returns

    summaries = describe_dataset(folder, names_of(ids))
    title = f"{sum(summary.steps for summary in summaries):,} steps of {len(summaries)} environments"
    caption = "least, mean, most: returns of episodes; agree: share of steps whose label is the action that was taken"
    table = Table(title=title, caption=caption)
    headers = ("environment", "episodes", "steps", "least", "mean", "most", "agree")
    for header in headers:
        table.add_column(header, justify="left" if header == "environment" else "right", overflow="fold")
    for summary in summaries:
        returns = (summary.returns.min(), summary.returns.mean(), summary.returns.max())
        cells = (f"{summary.episodes:,}", f"{summary.steps:,}", *(f"{value:.4g}" for value in returns))
        table.add_row(summary.name, *cells, f"{summary.agreement:.1%}")
        if output:
            draw_returns(summary, output / f"{summary.name}.png")
    console.print(table)
    if output:
        console.print(f"Histograms in {output}")


@dataset_app.command()
def card(
    folder: Folder,
    title: Annotated[str | None, typer.Option(help="Title of the card.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the data by its Hub identifier: cc-by-4.0, other, ...")
    ] = None,
) -> None:
    """Writes the dataset card, README.md: metadata for the Hub, a table of the environments, licences, loading code.

    Text that you have added to it is kept.
    """
    from ..trajectories import write_readme

    if not any(folder.glob("*/environment.json")):
        raise DatasetError(f"{folder} is no trajectory dataset: no <environment>/environment.json in it.")
    console.print(f"Card in {write_readme(folder, title, licence)}", highlight=False)


@dataset_app.command()
def mixture(
    folder: Annotated[str, typer.Argument(help="Folder or Hub id of the dataset.")],
    output: Annotated[Path, typer.Option(help="Mixture file (.yaml) to write.")],
    results: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="results.json of `ldm evaluate`, which measured the gaps."),
    ] = None,
    least: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Sampling weight of an environment where the model is as good as the reference; "
            "where it is no better than random, the weight is 1.",
        ),
    ] = 0.25,
    factor: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=NUMBER: multiply the sampling weight of this environment, or of all that match a pattern; "
            "the option may be repeated."
        ),
    ] = None,
    won_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.99,
            help="Least share of all segments for the environments at 80 % of the reference or more, together.",
        ),
    ] = 0.0,
) -> None:
    """Writes a mixture file: sampling weights that grow with the gap between the model and the reference policy."""
    from ..trajectories.mixture import gap_mixture
    from ..utils.files import read_json, write_atomically

    try:
        known = read_json(results) if results else None
        factors = dict(_factor(entry) for entry in factor or [])
        mixed = gap_mixture(folder, known, least, factors, won_share)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LDMError(f"{results} does not hold results of an evaluation: {error!r}") from error
    write_atomically(output, yaml.safe_dump(mixed, sort_keys=False))
    console.print(f"To train on this mixture: --dataset {output}", highlight=False)


def _factor(entry: str) -> tuple[str, float]:
    """The pattern and the number of ``NAME=NUMBER``."""
    pattern, _, number = entry.rpartition("=")
    try:
        factor = float(number)
    except ValueError:
        factor = math.nan
    if not pattern or not 0 <= factor < math.inf:
        raise typer.BadParameter(f"{entry!r} should be NAME=NUMBER, like PointMaze_*=4", param_hint="--factor")
    return pattern, factor
