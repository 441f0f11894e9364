#!/usr/bin/env python
"""Environments left out of pretraining: score by number of demonstrations, fine-tuned, from scratch, and by looking up the nearest one.

    python benchmarks/few_shot.py --model model_cards/ldm-nano --work outputs/few-shot --json docs/results/few-shot.json

Contenders, all on the same first episodes of the reference policy (one third clean, the others perturbed, every step labelled by the reference):

* fine-tuned: `examples/finetune.py` from the pretrained model, at its learning rate and at that of pretraining;
* from scratch: the same script, updates and network, whose weights are new, at the learning rate of pretraining;
* retrieval: the label of the nearest observation seen, in standardised numbers, with 1 for each symbol that differs. It has no history.

Score: 0 random, 1 reference, mean return of episodes on held-out seeds. Trajectories are collected where they are not there yet; finished
measurements are in the JSON file and are not repeated as long as the model and the options are the same; the curves lie beside it as PNG.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from common import parser, show
from retrieval import Retrieval
from tqdm.auto import tqdm

from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
from ldm_hf.agent import load_model, loaded_model
from ldm_hf.collection import Plan, collect
from ldm_hf.environments import get_spec, make
from ldm_hf.errors import LDMError
from ldm_hf.evaluation.evaluating import model_fingerprint
from ldm_hf.rollouts import HELD_OUT_SEED, AgentPolicy, normalised_score, rollout
from ldm_hf.trajectories import open_dataset

FINETUNE = Path(__file__).parents[1] / "examples" / "finetune.py"
ENVIRONMENTS = [  # of docs/results/nano/held-out.txt: a robot arm at a new task, a library never seen, states that are only numbered
    "metaworld-button-press-v3",
    "Foraging-10x10-2p-3f-v3",
    "FrozenLake-spiral-v1",
]
RATES = {"fine-tuned at 5e-4": 5e-4, "fine-tuned at 2e-3": 2e-3, "from scratch at 2e-3": 2e-3}
CONTENDERS = ("retrieval", *RATES)


def identity(args: Any) -> dict[str, Any]:
    """What decides the results, apart from the environments and numbers of demonstrations."""
    told = {name: getattr(args, name) for name in ("steps", "updates", "batch_size", "episodes", "seed")}
    return told | {"model": model_fingerprint(*loaded_model(str(args.model)))}


def models_folder(args: Any) -> Path:
    """Where the models of these options are kept, apart from those of others."""
    told = json.dumps(identity(args), sort_keys=True)
    return args.work / "models" / hashlib.sha256(told.encode()).hexdigest()[:12]


def trained(args: Any, name: str, contender: str, count: int, start: Path) -> AgentPolicy:
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


def measure(args: Any, name: str, contender: str, count: int) -> dict[str, float]:
    """Score of one contender."""
    stream = open_dataset(args.work / "trajectories", [name])[name]
    if stream.num_episodes < count:
        raise LDMError(f"{name} has {stream.num_episodes} episodes; collect more with a larger --steps")
    if contender == "retrieval":
        policy: Any = Retrieval([stream.part(0, count)])
    else:
        start = (
            args.model if contender.startswith("fine-tuned") else new_weights(args.model, models_folder(args) / "new")
        )
        policy = trained(args, name, contender, count, start)
    spec = get_spec(name)
    returns = rollout(lambda: make(spec), policy, max(args.episodes, spec.episodes), HELD_OUT_SEED, name=name)
    random, reference = (stream.info.scores[kind]["mean"] for kind in ("random", "reference"))
    return {"return": returns.mean(), "score": normalised_score(returns.mean(), random, reference, name)}


def table(runs: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """A row for each environment and number of demonstrations."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for key, result in runs.items():
        name, contender, count = key.split("|")
        found.setdefault((name, count), {})[contender] = result["score"]
    return [
        {"environment": name, "demonstrations": int(count), **{each: scores.get(each) for each in CONTENDERS}}
        for (name, count), scores in sorted(found.items(), key=lambda item: (item[0][0], int(item[0][1])))
    ]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The score by number of demonstrations, a panel an environment."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted({row["environment"] for row in rows})
    figure, panels = pyplot.subplots(
        1, len(names), figsize=(4 * len(names), 3.5), sharey=True, squeeze=False, layout="constrained"
    )
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
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", type=Path, required=True, help="pretrained without these environments")
    made.add_argument("--work", type=Path, required=True, help="folder of trajectories and fine-tuned models")
    made.add_argument("--environments", nargs="+", default=ENVIRONMENTS)
    made.add_argument("--demonstrations", type=int, nargs="+", default=[1, 5, 25, 100])
    made.add_argument("--steps", type=int, default=20_000, help="to collect of each environment")
    made.add_argument("--updates", type=int, default=600, help="at the most")
    made.add_argument("--batch-size", type=int, default=16, help="segments")
    made.add_argument("--episodes", type=int, default=20, help="to measure with")
    made.add_argument("--seed", type=int, default=0)
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
