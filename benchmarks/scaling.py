#!/usr/bin/env python
"""Loss and play of models of three sizes after three training times, the law that they follow, and what it implies.

    python benchmarks/scaling.py --dataset outputs/trajectories --work outputs/scaling \\
        --json docs/results/scaling.json --minutes 30 60 120 --sizes 1.6 3.3 8 --environments 200 --episodes 10

* Environments: a fixed choice from the dataset, domains in turn, and in each domain its families.
* Sizes, in millions of parameters: ldm-nano with another width, in whole heads of 32, as near as these come. All have
  the learning rate of ldm-nano, so that what a better one would give to a wider model is not in the law.
* Every run is a training of its own from new weights by `examples/pretrain.py`, whose learning rate falls to zero in
  its time: losses on the way of a longer run would be too high for the law (Hoffmann et al. 2022, arXiv 2203.15556).
* loss: on the last tenth of the episodes of every environment, which is never trained on (``--test_episodes``); mean
  over environments. Only means and deviations that standardise observations come from all episodes.
* Play: score by held-out seeds (0 random, 1 reference), clipped to [-1, 1] for means.

The law is that of Hoffmann et al. with one exponent for both terms, loss = E + A / N^a + B / D^a: two exponents, five
numbers in all, are too many for nine runs. D are transitions, seen again or not. N are the FLOPs of a transition
divided by six, i.e. the weights that it passes (as in DeepSeek-AI 2024, arXiv 2401.02954), since of ldm-nano's
parameters most are tables that are looked up, of ldm-base's few. Squares of relative errors are minimised, E, A and B
are not negative. Intervals (95 %) come from fits to resampled runs: they tell how the runs scatter, not whether the
law holds far beyond them (of simulated studies of nine runs with errors of 0.5 and 2 %, 95 to 98 % had intervals
around the true exponent and loss). The share of environments at 80 % is a logistic function of the logarithm of the
loss.

Runs of the JSON file are not repeated, and interrupted ones go on; once it has all of them, the command only fits and
draws again. The picture is written beside it as PNG.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from common import HEAD, Row, machine, nano_sizes, parser, show
from encoders import play
from scaling_law import LEAST, Entry, Law, conclusions, loss_of, sentences, share_of
from tqdm.auto import tqdm

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.agent import load_model, loaded_model
from ldm_hf.environments.specs import family_of, find
from ldm_hf.errors import LDMError
from ldm_hf.hashing import key
from ldm_hf.rollouts.returns import BAR
from ldm_hf.training import SegmentDataset
from ldm_hf.training.meter import flops_per_token
from ldm_hf.trajectories import EnvironmentInfo, WindowSampler, open_dataset
from ldm_hf.trajectories.selection import select
from ldm_hf.trajectories.splitting import test_episodes
from ldm_hf.trajectories.streams import config_names
from ldm_hf.trajectories.writer import stored
from ldm_hf.utils.figures import png_figure
from ldm_hf.utils.files import write_atomically
from ldm_hf.utils.parallel import SILENT_SECONDS, run_tasks

PRETRAIN = Path(__file__).parents[1] / "examples" / "pretrain.py"
HELD_OUT = "0.1"  # share of the episodes
SEGMENTS = 8  # held-out segments of each environment
BATCH = 32  # held-out segments at a time
UPDATES = 10**6  # more than any run reaches: minutes end it
WARMUP = 0.02  # share of the training time
GOAL = "ldm-base"
GOAL_TRANSITIONS = 196_000 * 86_400  # of a day of one H100, docs/benchmarks.md
IDENTITY = ("environments", "episodes", "seed", "threads", "batch_size", "learning_rate", "max_updates")


# --- environments ----------------------------------------------------------------------------------------------------


def candidates(dataset: Path) -> dict[str, str]:
    """Domains of the environments that can be played, have a scale of scores and episodes to hold out, by name."""
    found = {}
    for name in config_names(dataset):
        info = EnvironmentInfo.load(dataset / name)
        random, reference = (info.scores.get(label, {}).get("mean", np.nan) for label in ("random", "reference"))
        if find(name) and reference > random and stored(dataset / name)[0] > 1:
            found[name] = info.domain
    return found


def turns(queues: Iterable[Sequence[str]]) -> list[str]:
    """The first of every queue, then the second of every queue, and so on."""
    return [name for row in itertools.zip_longest(*queues) for name in row if name is not None]


def choose(domains: Mapping[str, str], count: int, seed: int = 0) -> list[str]:
    """Chooses environments: domains take turns, and in a domain its families.

    Args:
        domains: domain of each environment by name.
        count: number of environments to choose.
        seed: seed of the order within a family and of the families.
    """
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(domains, key=lambda name: key("scaling", seed, name)):
        groups[domains[name]][family_of(name)].append(name)
    return sorted(turns(turns(families.values()) for _, families in sorted(groups.items()))[:count])


# --- runs ------------------------------------------------------------------------------------------------------------


def config_of(width: int) -> LDMConfig:
    """ldm-nano's configuration with another width."""
    nano = LDMConfig.preset("ldm-nano")
    return LDMConfig.preset("ldm-nano", backbone_config=nano.backbone_config.to_dict() | nano_sizes(width))


def counts(config: LDMConfig) -> tuple[int, float]:
    """Numbers of parameters, and of weights that a transition passes."""
    with torch.device("meta"):
        model = LDMForActionPrediction(config)
    return model.num_parameters(), flops_per_token(model) / 6


@functools.cache
def width_of(millions: float) -> int:
    """The width in whole heads that comes nearest to so many million parameters."""
    return min(
        range(HEAD, 33 * HEAD, HEAD), key=lambda width: abs(np.log(counts(config_of(width))[0] / 1e6 / millions))
    )


def train(args: argparse.Namespace, names: list[str], size: float, minutes: float) -> Path:
    """Trains a model, or goes on with it, unless that has been done. Returns its folder."""
    width, work = width_of(size), args.work / f"{key(names, *identity(args).values()):x}"
    new, output = work / "new" / str(width), work / f"{size:g}M-{minutes:g}"
    if not (new / "model.safetensors").exists():
        torch.manual_seed(args.seed)
        LDMForActionPrediction(config_of(width)).save_pretrained(new)
    options = {
        "dataset": args.dataset,
        "test_episodes": HELD_OUT,
        "model": new,
        "output_dir": output,
        "max_minutes": minutes,
        "max_steps": args.max_updates,
        "warmup_steps": int(WARMUP * args.max_updates),
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "cpu_threads": args.threads,
        "seed": args.seed,
        "resume_from_checkpoint": "latest",
    }
    flags = [str(part) for option, value in options.items() for part in (f"--{option}", value)]
    if subprocess.run([sys.executable, str(PRETRAIN), *flags, "--environments", *names]).returncode:
        raise SystemExit(f"error: the training of {output} failed, see above; the same command continues it")
    return output


@torch.inference_mode()
def held_out_losses(folder: Path, dataset: Path, names: list[str]) -> dict[str, float]:
    """Loss of each environment on episodes that were left out of the training; the same segments for every model."""
    model, processor = load_model(folder)
    streams = {
        name: select(stream, np.flatnonzero(test_episodes(stream, HELD_OUT)))
        for name, stream in open_dataset(dataset, names).items()
    }
    lengths = {name: stream.num_steps for name, stream in streams.items()}
    sampler = WindowSampler(lengths, model.config.default_segment, BATCH)
    batches = SegmentDataset(streams, processor, sampler, -(-SEGMENTS * len(names) // BATCH))
    losses = defaultdict(list)
    for number in tqdm(range(len(batches)), desc="held-out loss", leave=False):
        found = model(**batches[number]).row_losses.tolist()
        for name, loss in zip(batches.environments(number), found, strict=True):
            losses[name].append(loss)
    return {name: float(np.nanmean(values)) for name, values in losses.items()}


def score(name: str, episodes: int, model: str, dataset: str) -> float:
    """Normalised score of a model in one environment."""
    return float(play(*loaded_model(model), Path(dataset), name, known=True, episodes=episodes))


def scores_of(folder: Path, args: argparse.Namespace, names: list[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Scores of a model, and messages by the name of the environment where it could not play.

    What has been played is kept beside the model.
    """
    kept = folder / "scores.json"
    scores: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    failures: dict[str, str] = {}
    tasks = {name: (name, args.episodes) for name in names if name not in scores}
    shared = {"model": str(folder), "dataset": str(args.dataset)}
    played = run_tasks(score, tasks, args.threads, silence=SILENT_SECONDS, shared=shared)
    for name, outcome in tqdm(played, total=len(tasks), desc="play", unit="environment", leave=False):
        if isinstance(outcome, LDMError):
            failures[name] = str(outcome)
            continue
        scores[name] = outcome
        write_atomically(kept, json.dumps(scores))
    return scores, failures


def run(args: argparse.Namespace, names: list[str], size: float, minutes: float) -> Entry:
    """All that is measured of one size after one training time."""
    folder = train(args, names, size, minutes)
    told = json.loads((folder / "training.json").read_text())
    parameters, weights = counts(config_of(width_of(size)))
    scores, failures = scores_of(folder, args, names)
    return {
        "size": size,
        "minutes": minutes,
        "width": width_of(size),
        "parameters": parameters,
        "weights": weights,
        "updates": told["steps"],
        "transitions": told["transitions"],
        "trained_minutes": told["minutes"],
        "machine": machine(),
        "losses": held_out_losses(folder, args.dataset, names),
        "scores": scores,
        "failures": failures,
    }


# --- report ----------------------------------------------------------------------------------------------------------


def table(runs: list[Entry]) -> list[Row]:
    """One row per run."""
    return [
        {
            "size": f"{run['parameters'] / 1e6:.1f}M",
            "minutes": run["minutes"],
            "weights, M": run["weights"] / 1e6,
            "updates": run["updates"],
            "transitions, M": run["transitions"] / 1e6,
            "loss": loss_of(run),
            "environments": len(run["scores"]),
            "at 80 %": sum(value >= BAR for value in run["scores"].values()),
            "mean score": float(np.clip([*run["scores"].values()], -1, 1).mean()),
        }
        for run in runs
    ]


def domain_table(runs: list[Entry], domains: Mapping[str, str]) -> list[Row]:
    """One row per domain: loss, and share of environments at 80 %, of every run."""
    rows: list[Row] = []
    for domain in sorted(set(domains.values())):
        names = [name for name in domains if domains[name] == domain]
        row: Row = {"domain": domain, "environments": len(names)}
        for run in runs:
            scores = [run["scores"][name] >= BAR for name in names if name in run["scores"]]
            loss = float(np.mean([run["losses"][name] for name in names]))
            share = f"{np.mean(scores):.0%}" if scores else "-"
            row[f"{run['parameters'] / 1e6:.1f}M, {run['minutes']:g}"] = f"{loss:.3g}, {share}"
        rows.append(row)
    return rows


def draw(runs: list[Entry], law: Law | None, path: Path) -> None:
    """Draws losses by transitions with the law, and the share of environments at 80 % by minutes, for each size."""
    transitions = np.array([run["transitions"] / 1e6 for run in runs])
    line = np.geomspace(transitions.min() / 2, 4 * transitions.max())
    with png_figure(path, (10, 4), dpi=130) as figure:
        losses, plays = figure.subplots(1, 2)
        for number, size in enumerate(sorted({run["size"] for run in runs})):
            own = [run for run in runs if run["size"] == size]
            style = {"color": f"C{number}", "label": f"{own[0]['parameters'] / 1e6:.1f}M parameters"}
            losses.plot([run["transitions"] / 1e6 for run in own], [*map(loss_of, own)], "o", **style)
            plays.plot([run["minutes"] for run in own], [100 * share_of(run) for run in own], "o-", **style)
            if law is not None:
                losses.plot(line, law.loss(own[0]["weights"] / 1e6, line), "-", color=f"C{number}", linewidth=1)
        if law is not None:
            terms = f"{law.size:.2g} / N^{law.exponent:.2f} + {law.data:.2g} / D^{law.exponent:.2f}"
            losses.set_title(f"loss = {law.floor:.2g} + {terms}", fontsize="medium")
        losses.set(xscale="log", xlabel="transitions seen, millions", ylabel="held-out loss")
        plays.set(xlabel="minutes of training", ylabel="environments at 80 % of the reference, %")
        losses.legend()


def report(args: argparse.Namespace, kept: Entry) -> None:
    """Fits the law if there are runs enough, prints and writes everything, and draws."""
    runs = sorted(kept["runs"].values(), key=lambda run: (run["size"], run["minutes"]))
    parameters, weights = counts(LDMConfig.preset(GOAL))
    goal = {"preset": GOAL, "parameters": parameters, "weights": weights, "transitions": GOAL_TRANSITIONS}
    found = conclusions(runs, args.release, goal) if len(runs) >= LEAST else {}
    notes = sentences(found, runs, kept["transitions"]) if found else [f"{LEAST} runs are needed for the law"]
    for run in runs:
        notes += [f"{run['size']:g}M, {run['minutes']:g} minutes: {text}" for text in run["failures"].values()]
    domains = domain_table(runs, kept["environments"])
    quiet = argparse.Namespace(**vars(args) | {"json": None})
    show("By domain: loss, share of the environments at 80 %", domains, quiet)
    title = f"Scaling, {len(kept['environments'])} environments, {args.episodes} episodes"
    show(title, table(runs), args, notes, {**kept, "domains": domains, **found})
    law = Law(**{name: number["value"] for name, number in found["law"].items()}) if found else None
    draw(runs, law, args.json.with_suffix(".png"))


def identity(args: argparse.Namespace) -> dict[str, object]:
    """All options that decide the results of a run, apart from its size and minutes."""
    return {name: getattr(args, name) for name in IDENTITY}


def begun(args: argparse.Namespace) -> Entry:
    """What the JSON file holds of the study, or the chosen environments and no run if there is none yet.

    Raises:
        SystemExit: if the file is of other options, or the dataset has too few environments.
    """
    if args.json.exists():
        found, same = json.loads(args.json.read_text()), identity(args)
        if others := [name for name in IDENTITY if found["identity"][name] != same[name]]:
            was = ", ".join(f"{name} was {found['identity'][name]}" for name in others)
            raise SystemExit(f"error: {args.json} is of a study with other options ({was}); choose another --json")
        return {name: found[name] for name in ("identity", "environments", "transitions", "runs")}
    domains = candidates(args.dataset)
    names = choose(domains, args.environments, args.seed)
    if len(names) < args.environments:
        raise SystemExit(
            f"error: {args.dataset} has {len(names)} environments to choose from, not {args.environments}"
        )
    steps = sum(stored(args.dataset / name)[1] for name in names)
    return {
        "identity": identity(args),
        "environments": {name: domains[name] for name in names},
        "transitions": steps,
        "runs": {},
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--dataset", type=Path, default=Path("outputs/trajectories"), help="folder of trajectories")
    made.add_argument("--work", type=Path, default=Path("outputs/scaling"), help="folder for models")
    made.add_argument("--json", type=Path, required=True, help="JSON file of all runs; the picture is beside it")
    made.add_argument("--minutes", type=float, nargs="+", default=[30, 60, 120], help="training times")
    made.add_argument("--sizes", type=float, nargs="+", default=[1.6, 3.3, 8], help="millions of parameters")
    made.add_argument("--environments", type=int, default=200, help="number of environments")
    made.add_argument("--episodes", type=int, default=10, help="episodes to judge by")
    made.add_argument(
        "--release", type=float, nargs="+", default=[120, 480, 1440], help="minutes to choose a size for"
    )
    made.add_argument("--batch-size", type=int, default=16, help="segments per update")
    made.add_argument("--learning-rate", type=float, default=2e-3, help="peak learning rate")
    made.add_argument("--seed", type=int, default=0, help="seed of the choice of environments and of training")
    made.add_argument("--max-updates", type=int, default=UPDATES, help="most updates of a run, to try the command")
    made.set_defaults(threads=2)
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    kept = begun(args)
    # short runs first, so that the law is known before the longest ones
    every = {
        f"{size:g}M, {minutes:g} minutes": (size, minutes) for minutes in sorted(args.minutes) for size in args.sizes
    }
    for name in (missing := [name for name in every if name not in kept["runs"]]):
        kept["runs"][name] = run(args, [*kept["environments"]], *every[name])
        report(args, kept)
    if not missing:
        report(args, kept)


if __name__ == "__main__":
    main()
