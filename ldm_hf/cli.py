"""The console command ``ldm``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_collect import collect
from .cli_data import dataset, import_data, push
from .cli_envs import envs
from .cli_options import Ids, Jobs, References, console
from .cli_publish import card, export
from .cli_reference import reference
from .errors import LDMError

app = typer.Typer(
    help="Large Decision Models: environments, reference policies, trajectories, evaluation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(envs, name="envs")
app.command()(collect)
app.command()(export)
app.command()(card)
app.add_typer(dataset, name="dataset")
app.command("import")(import_data)
app.command()(push)
app.command()(reference)


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="Folder or Hub id of a pretrained LDM.")],
    ids: Ids = None,
    output: Annotated[Path, typer.Option(help="JSON; the threshold curve lies beside it as PNG.")] = Path(
        "outputs/results.json"
    ),
    dataset: Annotated[
        Path | None, typer.Option(help="Trajectories whose scores of random and reference are reused.")
    ] = None,
    references: References = Path("outputs/references"),
    episodes: Annotated[int, typer.Option(min=1, help="Per policy and environment.")] = 20,
    num_envs: Annotated[int, typer.Option(min=1, help="Environments in lock step.")] = 10,
    jobs: Jobs = 1,
    incognito: Annotated[
        bool,
        typer.Option("--incognito", help="Do not tell the model which environment it is in: no stored statistics."),
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Of the first episode; by default far from those of collection.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Measure again what the output tells already.")] = False,
) -> None:
    """Scores a model against random actions and reference policies, with its task text and from history alone."""
    from .evaluation import HELD_OUT_SEED, markdown_report, print_report, threshold_curve
    from .evaluation import evaluate as evaluate_model

    results = evaluate_model(
        model,
        [name for part in ids or [] for name in part.split(",")] or None,
        references,
        episodes=episodes,
        seed=HELD_OUT_SEED if seed is None else seed,
        num_envs=num_envs,
        jobs=jobs,
        dataset=dataset,
        output=output,
        incognito=incognito,
        force=force,
    )
    print_report(results)
    threshold_curve(results, output.with_suffix(".png"))
    output.with_suffix(".md").write_text(markdown_report(results), encoding="utf-8")
    console.print(f"Results in {output}; the tables and the curve beside it as .md and .png")
    if "failures" in results:
        raise typer.Exit(1)


@app.command()
def play(
    model: Annotated[str, typer.Option(help="Folder or Hub id of a pretrained LDM.")],
    env: Annotated[
        str, typer.Option(help="Name in the catalogue or Gymnasium id; several, separated by commas, side by side.")
    ],
    video: Annotated[Path | None, typer.Option(help="MP4 or GIF to write; without it a window opens.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="In one environment.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of the video of several environments.")] = 8,
    side: Annotated[int, typer.Option(min=16, help="Pixels of each of several environments.")] = 128,
    fps: Annotated[int, typer.Option(min=1, help="Frames per second of the video of several environments.")] = 20,
    seed: int = 0,
) -> None:
    """Lets a model play and shows it."""
    from .playing import play as play_episodes
    from .playing import play_grid

    names = env.split(",")
    if len(names) > 1:
        if video is None:
            raise LDMError("several environments side by side are a video; name it: --video grid.mp4")
        for failure in play_grid(model, names, video, seconds, side, fps, seed).values():
            console.print(f"left out: {failure}", markup=False, highlight=False)
        console.print(f"video in {video}")
        return
    returns = play_episodes(model, env, video, episodes, seed)
    console.print(f"returns: {', '.join(f'{value:.4g}' for value in returns)}")
    if video:
        console.print(f"video in {video}")


def run(command: Callable[..., Any]) -> None:
    """Runs a command; an error that a user can cure becomes one line without a stack trace."""
    logging.basicConfig(format="%(levelname)s %(message)s")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        command()
    except LDMError as error:
        sys.exit(f"error: {error}")


def main() -> None:
    """Entry point of ``ldm``."""
    run(app)
