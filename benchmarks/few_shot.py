#!/usr/bin/env python
"""Few-shot learning in environments left out of pretraining: score by number of demonstrations.

    python benchmarks/few_shot.py --model model_cards/ldm-nano --work outputs/few-shot --json docs/results/few-shot.json

Contenders, all on the same first episodes of the reference policy (one third clean, the others perturbed, every step
labelled by the reference):

* fine-tuned: `examples/finetune.py` from the pretrained model, at its learning rate and at that of pretraining;
* from scratch: the same script, updates and network with new weights, at the learning rate of pretraining;
* retrieval: the label of the nearest observation seen (squared distance of standardised numbers, plus 1 for each symbol
  that differs). It has no history.

Score: 0 random, 1 reference, mean return of episodes on held-out seeds. Missing trajectories are collected first;
finished measurements are in the JSON file and are not repeated as long as the model and the options are the same; the
curves are drawn next to it as PNG.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import torch
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
from ldm_hf.trajectories import open_dataset
from ldm_hf.utils.figures import png_figure

FINETUNE = Path(__file__).parents[1] / "examples" / "finetune.py"
ENVIRONMENTS = [  # some of docs/results/nano/held-out.txt
    "metaworld-button-press-v3",  # a robot arm with a new task
    "Foraging-10x10-2p-3f-v3",  # a library never seen in training
    "FrozenLake-spiral-v1",  # states that are only numbered
]
RATES = {"fine-tuned at 5e-4": 5e-4, "fine-tuned at 2e-3": 2e-3, "from scratch at 2e-3": 2e-3}
CONTENDERS = ("retrieval", *RATES)


def identity(args: argparse.Namespace) -> dict[str, object]:
    """All that decides the results, apart from the environments and numbers of demonstrations."""
    options = {name: getattr(args, name) for name in ("steps", "updates", "batch_size", "episodes", "seed")}
    return options | {"model": model_fingerprint(*loaded_model(str(args.model)))}


def models_folder(args: argparse.Namespace) -> Path:
    """Folder for the models of these options; other options have another one."""
    key = hashlib.sha256(json.dumps(identity(args), sort_keys=True).encode()).hexdigest()[:12]
    return args.work / "models" / key


def trained(args: argparse.Namespace, name: str, contender: str, count: int, start: Path) -> AgentPolicy:
    """The agent of a model that was trained on ``count`` demonstrations."""
    output = models_folder(args) / f"{name}-{contender.replace(' ', '-')}-{count}"
    if not (output / "training.json").exists():
        options = {
            "model": start,
            "dataset": args.work / "trajectories",
            "environments": name,
            "episodes": count,
            "output_dir": output,
            "learning_rate": RATES[contender],
            "max_steps": args.updates,
            "batch_size": args.batch_size,
            "cpu_threads": args.threads,
            "seed": args.seed,
            "resume_from_checkpoint": "latest",
        }
        flags = [str(part) for option, value in options.items() for part in (f"--{option}", value)]
        result = subprocess.run([sys.executable, str(FINETUNE), *flags], capture_output=True, text=True)
        if result.returncode:
            raise LDMError(f"{output}: {result.stderr[-2000:]}")
    model, processor = load_model(output)
    return AgentPolicy(lambda pair, lanes: LDMAgent(model, processor, pair, environment=name, num_envs=lanes))


def new_weights(model: Path, folder: Path) -> Path:
    """The same network before any training."""
    if not (folder / "model.safetensors").exists():
        config = load_model(model)[0].config
        torch.manual_seed(0)
        LDMForActionPrediction(config).save_pretrained(folder)
        LDMProcessor.from_config(config).save_pretrained(folder)
    return folder


def measure(args: argparse.Namespace, name: str, contender: str, count: int) -> dict[str, float]:
    """Mean return and normalised score of one contender after ``count`` demonstrations."""
    stream = open_dataset(args.work / "trajectories", [name])[name]
    if stream.num_episodes < count:
        raise LDMError(f"{name} has {stream.num_episodes} episodes; collect more with a larger --steps")
    if contender == "retrieval":
        policy: Policy = Retrieval([stream.part(0, count)])
    else:
        start = (
            args.model if contender.startswith("fine-tuned") else new_weights(args.model, models_folder(args) / "new")
        )
        policy = trained(args, name, contender, count, start)
    spec = get_spec(name)
    returns = rollout(lambda: make(spec), policy, max(args.episodes, spec.episodes), HELD_OUT_SEED, name=name)
    random, reference = (stream.info.scores[kind]["mean"] for kind in ("random", "reference"))
    return {"return": returns.mean(), "score": normalised_score(returns.mean(), random, reference, name)}


def table(runs: dict[str, dict[str, float]]) -> list[Row]:
    """A row for each environment and number of demonstrations."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for key, result in runs.items():
        name, contender, count = key.split("|")
        found.setdefault((name, count), {})[contender] = result["score"]
    return [
        {"environment": name, "demonstrations": int(count), **{each: scores.get(each) for each in CONTENDERS}}
        for (name, count), scores in sorted(found.items(), key=lambda item: (item[0][0], int(item[0][1])))
    ]


def draw(rows: list[Row], path: Path) -> None:
    """Draws the score by number of demonstrations, one panel per environment."""
    names = sorted({row["environment"] for row in rows})
    with png_figure(path, (4 * len(names), 3.5), dpi=130) as figure:
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)
        for axes, name in zip(panels[0], names, strict=True):
            mine = [row for row in rows if row["environment"] == name]
            for contender in CONTENDERS:
                points = [(row["demonstrations"], row[contender]) for row in mine if row[contender] is not None]
                axes.plot(*zip(*points, strict=True), marker="o", label=contender)
            axes.axhline(0, color="grey", linewidth=0.5)
            axes.axhline(1, color="grey", linewidth=0.5)
            axes.set(title=name, xlabel="demonstrations (episodes)", xscale="log")
        panels[0][0].set(ylabel="score (0 random, 1 reference)")
        panels[0][0].legend()


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
    made.add_argument("--seed", type=int, default=0, help="seed of training")
    args = made.parse_args()
    if known := set(args.environments) & set(load_model(args.model)[1].environments):
        raise SystemExit(f"error: {args.model} was pretrained on {', '.join(sorted(known))}; choose others")
    plan = Plan(str(args.work / "trajectories"), steps=args.steps)
    for error in collect([get_spec(name) for name in args.environments], plan).values():
        raise SystemExit(f"error: {error}")
    found = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    same = identity(args)
    kept = found["runs"] if found.get("identity") == same else {}
    tasks = [
        (name, contender, count)
        for name in args.environments
        for count in args.demonstrations
        for contender in CONTENDERS
        if f"{name}|{contender}|{count}" not in kept
    ]
    for task in tqdm(tasks, unit="run"):
        kept["|".join(map(str, task))] = measure(args, *task)
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps({"identity": same, "runs": kept}))
    rows = table(kept)
    show(f"Few demonstrations, {args.updates} updates of {args.batch_size} segments", rows, args)
    if args.json:
        args.json.write_text(
            json.dumps(json.loads(args.json.read_text()) | {"identity": same, "runs": kept}, indent=1) + "\n"
        )
        draw(rows, args.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
