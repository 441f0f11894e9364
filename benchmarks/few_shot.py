#!/usr/bin/env python
"""Few-shot learning in environments left out of pretraining: score by number of demonstrations.

    python benchmarks/few_shot.py --model model_cards/ldm-nano --work outputs/few-shot --json docs/results/few-shot.json

Methods, all on the same episodes of the reference policy (one third clean, the others perturbed, every step labelled
by the reference), other ones for each seed:

* ``RECIPES``: `examples/finetune.py` from the pretrained model, with different options;
* from scratch: the same script, updates and network with new weights, at the learning rate of pretraining;
* shown: the pretrained model with the episodes in its history and their statistics, without any training;
* nearest: the label of the nearest observation seen (squared distance of standardised numbers, plus 1 for each symbol
  that differs); gradient boosting (scikit-learn) from the observation to the label. Both have no history.

Score: 0 random, 1 reference, mean return of episodes on held-out seeds. The JSON file has a row for each environment,
number of demonstrations, seed and method. Missing trajectories are collected first; finished measurements are not
repeated as long as the model and the options are the same; the curves are drawn next to the file as PNG.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from cloning import BOOSTING, Clone
from common import Row, parser, show
from retrieval import Retrieval
from tqdm.auto import tqdm

from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
from ldm_hf.agent import load_model, loaded_model
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec, make
from ldm_hf.errors import LDMError
from ldm_hf.evaluation.evaluating import model_fingerprint
from ldm_hf.rollouts import HELD_OUT_SEED, AgentPolicy, Policy, normalised_score, rollout
from ldm_hf.rollouts.lane import Lane
from ldm_hf.training import processor_for
from ldm_hf.trajectories import open_dataset
from ldm_hf.trajectories.streams import Stream
from ldm_hf.utils.figures import png_figure
from ldm_hf.utils.files import write_atomically

FINETUNE = Path(__file__).parents[1] / "examples" / "finetune.py"
ENVIRONMENTS = [  # of adaptation.yaml, which no model is trained in
    "metaworld-button-press-v3",
    "metaworld-door-close-v3",
    "Reacher-v5",
    "CartPole-force20-v1",
    "FrozenLake-spiral-v1",
    "MiniGrid-GoToObject-6x6-N2-v0",
    "Foraging-10x10-2p-3f-v3",
    "or-Knapsack-v3",
    "HomeBattery-flat-v0",
    "BaseStock-stockout49-lead3-v0",
    "StocksReverting-pull0.5-v0",
    "nasim-small",
    "popgym-CountRecallEasy-v0",
]
RECIPES: dict[str, dict[str, object]] = {
    "fine-tuned at 5e-4": {"learning_rate": 5e-4},
    "fine-tuned at 2e-3": {"learning_rate": 2e-3},
    "frozen decoder": {"learning_rate": 2e-3, "method": "frozen"},
    "adapters": {"learning_rate": 2e-3, "method": "lora"},
    "averaged": {"learning_rate": 2e-3, "kept": 0.5},
    "disguised": {"learning_rate": 2e-3, "disguised_share": 0.5},
    "rates by layer": {"learning_rate": 2e-3, "layer_decay": 0.8},
}
SCRATCH = "from scratch"
APART = 25  # episodes between the first demonstrations of two seeds
METHODS = ("nearest", "gradient boosting", "shown", SCRATCH, *RECIPES)


def identity(args: argparse.Namespace) -> dict[str, object]:
    """All that decides the results, apart from the environments and numbers of demonstrations."""
    options = {name: getattr(args, name) for name in ("steps", "updates", "batch_size", "episodes")}
    return options | {"model": model_fingerprint(*loaded_model(str(args.model)))}


def models_folder(args: argparse.Namespace) -> Path:
    """Folder for the models of these options; other options have another one."""
    key = hashlib.sha256(json.dumps(identity(args), sort_keys=True).encode()).hexdigest()[:12]
    return args.work / "models" / key


def trained(args: argparse.Namespace, name: str, method: str, count: int, seed: int) -> AgentPolicy:
    """The agent of a model that was trained on ``count`` demonstrations."""
    output = models_folder(args) / f"{name}-{method.replace(' ', '-')}-{count}-{seed}"
    if not (output / "training.json").exists():
        options = {
            "model": new_weights(args.model, models_folder(args) / "new") if method == SCRATCH else args.model,
            "dataset": args.work / "trajectories",
            "environments": name,
            "episodes": count,
            "first_episode": seed * APART,
            "output_dir": output,
            "learning_rate": 2e-3,
            "max_steps": args.updates,
            "batch_size": args.batch_size,
            "cpu_threads": args.threads,
            "seed": seed,
            "resume_from_checkpoint": "latest",
        } | RECIPES.get(method, {})
        flags = [str(part) for option, value in options.items() for part in (f"--{option}", value)]
        result = subprocess.run([sys.executable, str(FINETUNE), *flags], capture_output=True, text=True)
        if result.returncode:
            raise LDMError(f"{output}: {result.stderr[-2000:]}")
    model, processor = load_model(output)
    return AgentPolicy(lambda pair, lanes: LDMAgent(model, processor, pair, environment=name, num_envs=lanes))


class Shown(AgentPolicy):
    """The pretrained model that has seen the demonstrations, and knows their statistics and the task text."""

    def __init__(self, folder: Path, name: str, stream: Stream) -> None:
        model, known = load_model(folder)
        processor = processor_for(model.config, {name: stream}, known)
        super().__init__(lambda pair, lanes: LDMAgent(model, processor, pair, environment=name, num_envs=lanes))
        self.stream = stream

    def start(self, lanes: list[Lane]) -> None:
        super().start(lanes)
        self.agent.show(self.stream)


def new_weights(model: Path, folder: Path) -> Path:
    """The same network before any training."""
    if not (folder / "model.safetensors").exists():
        config = load_model(model)[0].config
        torch.manual_seed(0)
        LDMForActionPrediction(config).save_pretrained(folder)
        LDMProcessor.from_config(config).save_pretrained(folder)
    return folder


def measure(args: argparse.Namespace, name: str, method: str, count: int, seed: int) -> Row:
    """The row of one method after ``count`` demonstrations."""
    whole, spec, first = open_dataset(args.work / "trajectories", [name])[name], get_spec(name), seed * APART
    if whole.num_episodes < first + count:
        raise LDMError(f"{name} has {whole.num_episodes} episodes; collect more with a larger --steps")
    stream = whole.part(first, first + count)
    policy: Policy
    if method == "nearest":
        policy = Retrieval([stream])
    elif method == "gradient boosting":
        policy = Clone([stream], BOOSTING, seed)
    elif method == "shown":
        policy = Shown(args.model, name, stream)
    else:
        policy = trained(args, name, method, count, seed)
    returns = rollout(lambda: make(spec), policy, max(args.episodes, spec.episodes), HELD_OUT_SEED, name=name)
    random, reference = (whole.info.scores[kind]["mean"] for kind in ("random", "reference"))
    score = float(normalised_score(returns.mean(), random, reference, name))
    row: Row = {"environment": name, "domain": spec.domain, "demonstrations": count, "seed": seed, "method": method}
    return row | {"return": float(returns.mean()), "score": score}


def medians(rows: list[Row]) -> list[Row]:
    """The median score over environments of each method by number of demonstrations, of means over seeds."""
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for row in rows:
        scores = found.setdefault((str(row["method"]), int(row["demonstrations"] or 0)), {})
        scores.setdefault(str(row["environment"]), []).append(float(row["score"] or 0))
    counts = sorted({count for _, count in found})
    return [
        {"method": method}
        | {
            str(count): float(np.median([np.mean(scores) for scores in found[method, count].values()]))
            for count in counts
            if (method, count) in found
        }
        for method in METHODS
        if any((method, count) in found for count in counts)
    ]


def draw(rows: list[Row], path: Path) -> None:
    """Draws the median score by number of demonstrations."""
    with png_figure(path, (7, 4), dpi=130) as figure:
        axes = figure.subplots()
        for row in medians(rows):
            points = [(int(count), score) for count, score in row.items() if count != "method"]
            axes.plot(*zip(*points, strict=True), marker="o", label=row["method"])
        axes.axhline(0, color="grey", linewidth=0.5)
        axes.axhline(1, color="grey", linewidth=0.5)
        axes.set(xlabel="demonstrations (episodes)", ylabel="score (0 random, 1 reference)", xscale="log")
        axes.legend(fontsize="small")


def main() -> None:
    made = parser(__doc__)
    made.add_argument(
        "--model", type=Path, required=True, help="folder of a model that was pretrained without these environments"
    )
    made.add_argument("--work", type=Path, required=True, help="folder for trajectories and fine-tuned models")
    made.add_argument("--environments", nargs="+", default=ENVIRONMENTS, help="environments")
    made.add_argument("--demonstrations", type=int, nargs="+", default=[1, 5, 25, 100], help="numbers of episodes")
    made.add_argument("--steps", type=int, default=20_000, help="steps to collect in each environment")
    made.add_argument("--updates", type=int, default=600, help="most training updates")
    made.add_argument("--batch-size", type=int, default=16, help="segments per update")
    made.add_argument("--episodes", type=int, default=20, help="episodes to measure with")
    made.add_argument("--seeds", type=int, default=3, help="number of seeds: other demonstrations, other training")
    made.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="methods to compare")
    args = made.parse_args()
    if known := set(args.environments) & set(load_model(args.model)[1].environments):
        raise SystemExit(f"error: {args.model} was pretrained on {', '.join(sorted(known))}; choose others")
    plan = Plan(str(args.work / "trajectories"), steps=args.steps)
    for error in collect([get_spec(name) for name in args.environments], plan).values():
        raise SystemExit(f"error: {error}")
    found = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    same, failures = identity(args), []
    rows: list[Row] = found["rows"] if found.get("identity") == same else []
    done = {tuple(row[key] for key in ("environment", "method", "demonstrations", "seed")) for row in rows}
    tasks = itertools.product(args.environments, args.methods, args.demonstrations, range(args.seeds))
    for task in tqdm([task for task in tasks if task not in done], unit="run"):
        try:
            rows.append(measure(args, *task))
        except LDMError as error:
            failures.append(f"{task}: {error}")
            continue
        if args.json:
            write_atomically(args.json, json.dumps({"identity": same, "rows": rows}))
    if rows:
        show(
            f"Few demonstrations, {args.updates} updates of {args.batch_size} segments", medians(rows), args, failures
        )
    if args.json and rows:
        shown = json.loads(args.json.read_text())
        data = shown | {"identity": same, "medians": shown["rows"], "rows": rows}
        write_atomically(args.json, json.dumps(data, indent=1) + "\n")
        draw(rows, args.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
