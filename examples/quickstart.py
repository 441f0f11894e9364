#!/usr/bin/env python
"""The whole road in minutes: play with the published model, then collect, pretrain, load, evaluate.

    python examples/quickstart.py

Lets the published model play at once (a video), then collects trajectories of a dozen environments with their
reference policies, pretrains **one** transformer on all of them, loads it back with `from_pretrained`, and scores it in
every environment against its reference policy and against random actions. Training lasts a fixed number of updates, so
that a busy machine takes longer and reaches the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm.auto import tqdm
from transformers.utils.logging import disable_progress_bar

from ldm_hf.cli.app import run
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec
from ldm_hf.errors import LDMError
from ldm_hf.evaluation import EvaluationOptions, evaluate, markdown_report, print_report, threshold_curve
from ldm_hf.evaluation.playing import play_grid

ENVIRONMENTS = (
    "CartPole-v1",  # real numbers in, a choice out
    "Pendulum-v1",  # a real number out
    "LunarLanderContinuous-v3-short",
    "Taxi-v4-short",  # 500 numbered states
    "CliffWalking-v1-short",
    "BabyAI-GoToRedBallNoDists-v0",  # a symbolic view and a sentence
    "BabyAI-GoToLocalS5N2-v0",
    "BabyAI-GoToRedBallNoDists-pixels",  # the same world as pixels
    "metaworld-reach-v3",  # a robot arm
    "metaworld-window-close-v3",
    "BaseStock-v0",  # inventory
    "HomeBattery-v0",  # energy
    "StocksTrending-v0",  # trading
    "nasim-tiny",  # cybersecurity
    "popgym-RepeatPreviousEasy-v0",  # memory
)
PUBLISHED = Path(__file__).parents[1] / "model_cards" / "ldm-nano"
SHOWN = [
    "CartPole-v1",
    "LunarLanderContinuous-v3-short",
    "Taxi-v4-short",
    "BabyAI-GoToRedBallNoDists-v0",
]  # whatever has a picture
console = Console()


def show_score(name: str, entry: dict[str, Any]) -> None:
    """One line above the progress bar as soon as an environment is measured."""
    tqdm.write(f"{name:40} {100 * entry['normalised']:4.0f} % of the reference")


def main() -> None:
    """Runs the four stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("outputs/quickstart"))
    parser.add_argument("--steps-per-env", type=int, default=12_000)
    parser.add_argument(
        "--updates", type=int, default=1200, help="of pretraining: four to five minutes of two quiet cores"
    )
    parser.add_argument("--minutes", type=float, help="end pretraining after so long, however many updates that are")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2, help="processes that collect and evaluate")
    parser.add_argument("--environments", nargs="+", default=list(ENVIRONMENTS))
    args = parser.parse_args()
    started = time.monotonic()
    disable_progress_bar()  # of transformers, for weights
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # the same for the process that trains
    data, model, results_file = args.output / "trajectories", args.output / "model", args.output / "results.json"

    specs = [get_spec(name) for name in args.environments]
    if PUBLISHED.exists():
        console.rule("0. Play at once: the published model, four environments, one set of weights")
        play_grid(str(PUBLISHED), SHOWN, args.output / "replay.mp4", side=256)
        console.print(f"video in {args.output / 'replay.mp4'}")

    console.rule("1. Collect: reference policies play, clean and perturbed, and label every step")
    for error in collect(specs, Plan(str(data), steps=args.steps_per_env), jobs=args.jobs).values():
        raise error

    console.rule("2. Pretrain: one transformer on all of them")
    launch = "accelerate.commands.launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no"
    launch += " --dynamo_backend no"
    command = [*launch.split(), str(Path(__file__).with_name("pretrain.py"))]
    options = {
        "dataset": data,
        "output_dir": model,
        "max_steps": args.updates,
        "learning_rate": 3e-3,
        "batch_size": 16,
        "checkpointing_steps": 0,
    }
    if args.minutes:
        options["max_minutes"] = args.minutes
    if "OMP_NUM_THREADS" in os.environ:  # `accelerate launch` sets one of its own
        options["cpu_threads"] = os.environ["OMP_NUM_THREADS"]
    flags = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    if subprocess.run([sys.executable, "-m", *command, *flags, "--environments", *args.environments]).returncode:
        raise LDMError("pretraining failed; its message stands above")

    console.rule("3. Load it back and evaluate: random, reference, LDM, on the same held-out seeds")
    measuring = EvaluationOptions(episodes=args.episodes)
    results = evaluate(
        model, args.environments, measuring, dataset=data, output=results_file, jobs=args.jobs, on_result=show_score
    )
    print_report(results, console, best_first=True)
    threshold_curve(results, args.output / "curve.png")
    (args.output / "results.md").write_text(markdown_report(results), encoding="utf-8")

    summary, minutes = results["summary"], (time.monotonic() - started) / 60
    console.print(
        f"\nOne model of one set of weights reached at least 80 % of the reference policy in "
        f"{summary['at_least_80']} of {summary['n']} environments, after {minutes:.1f} minutes in all.\n"
        f"model {model} · results {results_file} · curve {args.output / 'curve.png'}\n"
        f"Watch it: ldm play --model {model} --env CartPole-v1 --video cartpole.mp4"
    )


if __name__ == "__main__":
    run(main)
