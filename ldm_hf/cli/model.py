"""``ldm evaluate``, ``play``, ``export``, ``card`` and ``push``: what is done with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import LDMError
from .options import Ids, Jobs, References, console


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
    from ..evaluation import evaluate as evaluate_model
    from ..evaluation import markdown_report, print_report, threshold_curve
    from ..rollouts import HELD_OUT_SEED

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
    from ..evaluation.playing import play as play_episodes
    from ..evaluation.playing import play_grid

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


def export(
    model: Annotated[str, typer.Option(help="Folder or Hub id of a pretrained LDM.")],
    output: Annotated[Path, typer.Option(help="Folder to write; what else lies in it stays.")],
) -> None:
    """Writes a model's repo: weights in bfloat16, configuration, processor, and the code that runs without this package."""
    from ..hub import export_model

    console.print(f"model in {export_model(model, output)}")


def card(
    folder: Annotated[Path, typer.Argument(help="Of `ldm export`, with results.json of `ldm evaluate` in it.")],
    name: Annotated[str | None, typer.Option(help="Title; the folder's name by default.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Hub id of the trajectories; may be repeated.")] = None,
    licence: Annotated[str, typer.Option(help="Of the weights, as the Hub spells it.")] = "apache-2.0",
) -> None:
    """Writes the model card from what was measured."""
    from ..hub import write_card

    console.print(f"card in {write_card(folder, name, dataset, licence)}")


def push(
    folder: Annotated[Path, typer.Argument(help="Of a model or a dataset.")],
    repo_id: Annotated[str, typer.Argument(help="organisation/name on the Hub.")],
    private: Annotated[bool, typer.Option("--private", help="If the repo is new: only its owners see it.")] = False,
) -> None:
    """Uploads a model or a dataset to the Hugging Face Hub."""
    from ..hub.publishing import push as push_folder

    console.print(push_folder(folder, repo_id, private), highlight=False)
