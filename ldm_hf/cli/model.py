"""``ldm evaluate``, ``play``, ``export``, ``card`` and ``push``: commands for a trained model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LDMError
from .options import Address, Ids, Jobs, Model, References, RunOn, Where, console, executor_of, exit_with, names_of

if TYPE_CHECKING:
    from ..utils.parallel import Executor


class Player(StrEnum):
    """Who plays a suite."""

    MODEL = "model"
    REFERENCE = "reference"


def evaluate(
    model: Annotated[
        str | None, typer.Option(help="Folder or Hub id of a pretrained LDM; not needed with --policy reference.")
    ] = None,
    ids: Ids = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of the results; tables and pictures are written next to it as .md and .png. By default "
            "outputs/results.json, for a suite outputs/suites/SUITE-WHO.json, with --logs outputs/results-logs.json.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Suite to play under its own conditions, beside published scores: jat, mt50, zoo, ..."),
    ] = None,
    policy: Annotated[Player, typer.Option(help="With --suite: the model, or the reference policies.")] = Player.MODEL,
    save: Annotated[
        bool, typer.Option("--save", help="With --policy reference: also record the scores in the package.")
    ] = False,
    logs: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of logged decisions to judge the model on, instead of playing."),
    ] = None,
    test_episodes: Annotated[
        str | None,
        typer.Option(
            help="With --logs: the episodes to judge on, a share such as 0.2 (the last ones of every entity) or names "
            "of entities, separated by commas; by default those that the training left out (--test_episodes).",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="Dataset whose stored scores of random actions and reference policies are reused."),
    ] = None,
    references: References = Path("outputs/references"),
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help="Episodes per policy and environment; by default 20, or what the suite says."),
    ] = None,
    num_envs: Annotated[int, typer.Option(min=1, help="Environments that the model plays in lock step.")] = 10,
    jobs: Jobs = 1,
    executor: RunOn = Where.LOCAL,
    address: Address = None,
    incognito: Annotated[
        bool,
        typer.Option(
            "--incognito",
            help="Withhold the name of the environment from the model, so that it uses no stored statistics.",
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the first episode; by default far from the seeds of collected episodes."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Measure again what is in the output already.")] = False,
) -> None:
    """Scores a model against random actions and reference policies, with its task text and from history alone.

    Without --ids, it plays the environments that it was trained on. With --suite, it plays environments that others
    have published scores of, and --ids says which of them to try now: what is not tried counts as 0. With --logs,
    nothing is played: the model's proposals are compared with what was logged, beside simple baselines, and its return
    is estimated.
    """
    if suite is not None and logs is not None:
        raise LDMError("--suite and --logs are two ways to judge a model; choose one")
    if suite is not None:
        if dataset or incognito or seed is not None:
            raise LDMError("--dataset, --incognito and --seed do not go with --suite: a suite has its own conditions")
        run = executor_of(executor, address)
        _play_suite(
            suite, policy, model, names_of(ids), output, references, episodes, num_envs, jobs, force, save, run
        )
        return
    if logs is not None:
        unused = dataset or incognito or save or policy == Player.REFERENCE or address or executor is Where.RAY
        if unused or not (seed is episodes is None):
            raise LDMError("with --logs nothing is played: leave --dataset, --policy, --save, --episodes, ... out")
        _evaluate_logs(_named(model), logs, names_of(ids), test_episodes, output or Path("outputs/results-logs.json"))
        return
    if test_episodes is not None:
        raise LDMError("--test-episodes chooses episodes of a log; name it: --logs outputs/logs")
    from ..evaluation import EvaluationOptions, markdown_report, print_report, threshold_curve
    from ..evaluation import evaluate as evaluate_model
    from ..rollouts import HELD_OUT_SEED
    from ..utils.files import write_atomically

    if policy == Player.REFERENCE or save:
        raise LDMError("--policy reference and --save go with --suite; `ldm reference` measures references")
    output, model = output or Path("outputs/results.json"), _named(model)
    options = EvaluationOptions(episodes or 20, HELD_OUT_SEED if seed is None else seed, num_envs, incognito)
    run = executor_of(executor, address)
    results = evaluate_model(model, names_of(ids), options, references, dataset, output, jobs, force, executor=run)
    print_report(results)
    threshold_curve(results, output.with_suffix(".png"))
    write_atomically(output.with_suffix(".md"), markdown_report(results))
    console.print(f"Results in {output}; tables and curve next to it as .md and .png")
    if "failures" in results:
        raise typer.Exit(1)


def _named(model: str | None) -> str:
    if model is None:
        raise LDMError("no model: name its folder or its Hub id (--model)")
    return model


def _play_suite(
    suite: str,
    policy: Player,
    model: str | None,
    ids: list[str] | None,
    output: Path | None,
    references: Path,
    episodes: int | None,
    num_envs: int,
    jobs: int,
    force: bool,
    save: bool,
    run: Executor,
) -> None:
    from ..suites import evaluate_suite, markdown_report, print_report
    from ..utils.files import write_atomically

    if policy == Player.MODEL:
        model = _named(model)
        if save:
            raise LDMError("--save records scores of references: --policy reference")
    elif model is not None:
        raise LDMError("the references play without a model: leave --model out")
    who = "references" if model is None else Path(model).resolve().name
    output = output or Path(f"outputs/suites/{suite}-{who}.json")
    results = evaluate_suite(
        suite, output, model, ids, episodes, references, num_envs, jobs, force, save, executor=run
    )
    print_report(results)
    write_atomically(output.with_suffix(".md"), markdown_report(results))
    console.print(f"Results in {output}; tables next to it as .md")
    if failed := [task["error"] for task in results["tasks"].values() if "error" in task]:
        for message in failed:
            console.print(f"failed: {message}", style="red", markup=False, highlight=False)
        raise typer.Exit(1)


def _evaluate_logs(model: str, logs: str, names: list[str] | None, test_episodes: str | None, output: Path) -> None:
    """Judges a model on logged decisions, and writes the report."""
    from ..offline import draw_logs, evaluate_logs, headline, logs_report
    from ..utils.files import write_atomically

    results, judged = evaluate_logs(model, logs, names, test_episodes, output)
    pictures = {name: f"{output.stem}-{name}.png" for name in judged}
    for name, rows in judged.items():
        draw_logs(rows, output.with_name(pictures[name]))
    write_atomically(output.with_suffix(".md"), logs_report(results, pictures))
    for name, found in results["environments"].items():
        style = "red" if found["leak"] else None
        console.print(found["trained_on"], style=style, markup=False, highlight=False)
        console.print(headline(name, found).replace("**", ""), markup=False, highlight=False)
    console.print(f"Report in {output.with_suffix('.md')}, numbers in {output}")
    exit_with({name: LDMError(message) for name, message in results.get("failures", {}).items()})


def play(
    model: Model,
    env: Annotated[
        str,
        typer.Option(
            help="Name in the catalogue or Gymnasium id; several, separated by commas, are shown side by side."
        ),
    ],
    video: Annotated[Path | None, typer.Option(help="MP4 or GIF file to write; without it, a window opens.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes in a single environment.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of the video of several environments.")] = 8,
    side: Annotated[
        int, typer.Option(min=16, help="Width and height in pixels of each of several environments.")
    ] = 128,
    fps: Annotated[int, typer.Option(min=1, help="Frames per second of the video of several environments.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the first episode.")] = 0,
) -> None:
    """Lets a model play and shows it in a window or writes a video."""
    from ..evaluation.playing import play as play_episodes
    from ..evaluation.playing import play_grid
    from ..utils.parallel import SILENT_SECONDS, run_tasks

    names = env.split(",")
    if len(names) > 1:
        if video is None:
            raise LDMError("several environments side by side are a video; name it: --video grid.mp4")
        for failure in play_grid(model, names, video, seconds, side, fps, seed).values():
            console.print(f"left out: {failure}", markup=False, highlight=False)
        console.print(f"video in {video}")
        return
    tasks = {env: (model, env, video, episodes, seed)}
    ((_, returns),) = run_tasks(play_episodes, tasks, silence=SILENT_SECONDS, quiet=False)
    if isinstance(returns, LDMError):
        raise returns
    console.print(f"returns: {', '.join(f'{value:.4g}' for value in returns)}")
    if video:
        console.print(f"video in {video}")


class Format(StrEnum):
    """What `ldm export` writes."""

    TRANSFORMERS = "transformers"
    ONNX = "onnx"


def export(
    model: Model,
    output: Annotated[Path, typer.Option(help="Folder to write; other files in it are kept.")],
    format: Annotated[
        Format,
        typer.Option(help="A model repo for transformers, or one environment's step for onnxruntime, without torch."),
    ] = Format.TRANSFORMERS,
    env: Annotated[
        str | None, typer.Option(help="With onnx: name that the model knows, name in the catalogue, or Gymnasium id.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="With onnx: task text; by default that of the environment, '' for none.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="With onnx: weights of 8 bits, a third of the size.")] = False,
) -> None:
    """Writes a model repo (weights in bfloat16, configuration, processor, and code that runs without this package), or
    the files of an OnnxAgent."""
    if format == Format.ONNX:
        if env is None:
            raise LDMError("a model is exported to ONNX for one environment; name it: --env CartPole-v1")
        from ..onnx.files import export_onnx

        console.print(f"step.onnx and step.json in {export_onnx(model, output, env, task, int8)}")
        return
    from ..hub import export_model

    console.print(f"model in {export_model(model, output)}")


def card(
    folder: Annotated[
        Path, typer.Argument(help="Folder that `ldm export` wrote, with results.json of `ldm evaluate` in it.")
    ],
    name: Annotated[str | None, typer.Option(help="Title of the card; by default the folder's name.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Hub id of the training data; the option may be repeated.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights by its Hub identifier.")] = "apache-2.0",
) -> None:
    """Writes the model card, README.md, from the recorded results."""
    from ..hub import write_card

    console.print(f"card in {write_card(folder, name, dataset, licence)}")


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a model or a dataset.")],
    repo_id: Annotated[str, typer.Argument(help="Repo on the Hub: organisation/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repo private.")] = False,
) -> None:
    """Uploads a model or a dataset to the Hugging Face Hub."""
    from ..hub.publishing import push as push_folder

    console.print(push_folder(folder, repo_id, private), highlight=False)
