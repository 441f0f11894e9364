"""``ldm improve``: rounds of collecting where a model lags, training on, and keeping the better weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Ids, Jobs, Model, References, console, names_of


def improve_command(
    model: Model,
    dataset: Annotated[
        Path, typer.Option(help="Folder of the trajectories to train on; what the model does is added to it.")
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for the rounds; the same command continues an improvement in it.")
    ] = Path("outputs/improved"),
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds in all.")] = 1,
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Minutes for a round: collection, training, and the evaluation after it.")
    ] = 30,
    ids: Ids = None,
    references: References = Path("outputs/references"),
    episodes: Annotated[int, typer.Option(min=2, help="Episodes per environment; more where returns vary much.")] = 20,
    per_family: Annotated[
        int | None,
        typer.Option(min=1, help="Measure so many environments of each family, drawn by the seed; by default all."),
    ] = None,
    jobs: Jobs = 2,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps to collect in a round; by default as many as its minutes allow."),
    ] = None,
    updates: Annotated[
        int | None,
        typer.Option(min=1, help="Updates of a round's training; by default as many as its minutes allow."),
    ] = None,
    mix: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Probability that the reference acts in place of the model in a step that is collected."
        ),
    ] = 0.1,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak learning rate of a round.")] = 3e-4,
    batch_size: Annotated[int, typer.Option(min=1, help="Segments of an update.")] = 16,
    won_share: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.99,
            help="Least share of all segments for the environments at 80 % of the reference or more, together.",
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
) -> None:
    """Improves a model in rounds: evaluates it, collects its own steps where it lags with the reference's actions as
    labels, trains it on, evaluates again, and keeps the better weights.

    It may be interrupted at any time; the same command continues it. Without --ids, it improves in all environments of
    the dataset that have a reference policy.
    """
    from ..improving import Improvement, improve
    from ..improving.report import print_round

    names = names_of(ids)
    options = Improvement(
        model=model,
        dataset=str(dataset),
        output=str(output),
        rounds=rounds,
        minutes=minutes,
        names=None if names is None else tuple(dict.fromkeys(names)),
        references=str(references),
        episodes=episodes,
        per_family=per_family,
        jobs=jobs,
        steps=steps,
        updates=updates,
        mix=mix,
        learning_rate=learning_rate,
        batch_size=batch_size,
        won_share=won_share,
        seed=seed,
    )
    journal = improve(options, lambda one, told: print_round(one, told, console))
    for line in (f"Rounds in {journal.path}, curve in {output / 'curve.png'}; the best model is in", journal.best):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
