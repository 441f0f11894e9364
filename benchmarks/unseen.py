#!/usr/bin/env python
"""Zero-shot scores in environments held out of pretraining, by episode: does the model improve as its context fills?

    python benchmarks/unseen.py --model model_cards/ldm-nano --ids $(paste -sd, docs/results/nano/held-out.txt) \\
        --dataset outputs/trajectories --jobs 2 --json docs/results/nano/unseen.json

Consecutive episodes in one stream, which the model's history goes through. Contenders, all greedy:

* LDM: the model with the task text, without the name of the environment;
* without history: the same network, which sees only the current observation (standardised by the stream so far, as for
  LDM);
* retrieval: the label of the nearest of ``--looked-up`` observations of training environments that have the same
  spaces, where there are any.

Score: 0 random, 1 reference. Measured environments are in the JSON file and are not repeated as long as the model (its
files, not its name) and the options are the same; the curve is drawn next to it as PNG.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from common import Row, parser, show
from retrieval import Retrieval
from tqdm.auto import tqdm

from ldm_hf import LDMAgent
from ldm_hf.agent import loaded_model, make_agent
from ldm_hf.environments import EnvironmentSpec, get_spec, make
from ldm_hf.errors import LDMError
from ldm_hf.evaluation.evaluating import model_fingerprint
from ldm_hf.references import known_scores, load_reference
from ldm_hf.rollouts import (
    HELD_OUT_SEED,
    AgentPolicy,
    Policy,
    RandomPolicy,
    ReferencePolicy,
    normalised_score,
    rollout,
)
from ldm_hf.rollouts.lane import Lane
from ldm_hf.spaces import Action, space_to_json
from ldm_hf.trajectories import EnvironmentInfo, open_dataset
from ldm_hf.trajectories.streams import config_names
from ldm_hf.utils.figures import png_figure
from ldm_hf.utils.parallel import run_tasks

CONTENDERS = ("LDM", "without history", "retrieval")
PHASES = ((1, 1), (2, 5), (6, 10), (11, 25), (26, 50))  # first and last episode

Entry = dict[str, Any]
"""Results of one environment: scores ``(episodes,)`` by contender, mean returns ``random`` and ``reference``, and the
names of its ``relatives``, the training environments with the same spaces."""


class WithoutHistory(AgentPolicy):
    """The agent without its history: only the statistics that standardise observations are kept from step to step."""

    def act(self, lanes: list[Lane]) -> list[Action]:
        statistics = self.agent.state.statistics
        self.agent.reset()
        self.agent.state.statistics = statistics
        return super().act(lanes)


def ends(spec: EnvironmentSpec, references: str) -> tuple[float, float]:
    """Mean returns of random actions and of the reference, measured if they are not known."""
    scores = known_scores(spec, references) or {
        label: {"mean": rollout(lambda: make(spec), policy, 50, HELD_OUT_SEED, name=spec.name).mean()}
        for label, policy in (
            ("random", RandomPolicy()),
            ("reference", ReferencePolicy(lambda: load_reference(spec, references))),
        )
    }
    return scores["random"]["mean"], scores["reference"]["mean"]


def relatives(dataset: str, trained: Collection[str], env: gymnasium.Env) -> list[str]:
    """Names of the environments of a dataset that have the spaces of ``env`` and that the model was trained in."""
    wanted = space_to_json(env.observation_space), space_to_json(env.action_space)
    infos = [EnvironmentInfo.load(Path(dataset) / name) for name in config_names(Path(dataset)) if name in trained]
    return [info.name for info in infos if (info.observation_space, info.action_space) == wanted]


def identity(args: argparse.Namespace) -> dict[str, object]:
    """All that decides the results, apart from the environments."""
    options = {name: getattr(args, name) for name in ("episodes", "lanes", "looked_up", "dataset")}
    return options | {"model": model_fingerprint(*loaded_model(str(args.model)))}


def measure(name: str, args: dict[str, Any]) -> Entry:
    """Scores of every contender in one environment, means over lanes; ``args`` are the command's options."""
    spec, (model, processor) = get_spec(name), loaded_model(str(args["model"]))
    if name in processor.environments:
        raise LDMError(f"{args['model']} was trained in {name}; hold out others")

    def agent(pair: tuple[gymnasium.Space, gymnasium.Space], lanes: int) -> LDMAgent:
        return make_agent(model, processor, None, spec.task or None, pair, num_envs=lanes)

    def play(policy: Policy, episodes: int) -> np.ndarray:
        return rollout(lambda: make(spec), policy, episodes, HELD_OUT_SEED, args["lanes"], name)

    random, reference = ends(spec, args["references"])
    policies: dict[str, Policy] = {"LDM": AgentPolicy(agent), "without history": WithoutHistory(agent)}
    env = make(spec)
    near = relatives(args["dataset"], processor.environments, env)
    env.close()
    if near:
        policies["retrieval"] = Retrieval(list(open_dataset(args["dataset"], near).values()), args["looked_up"])
    found: Entry = {"random": random, "reference": reference, "relatives": near}
    for label, policy in policies.items():
        returns = play(policy, args["episodes"] * args["lanes"]).reshape(args["episodes"], args["lanes"]).mean(1)
        found[label] = normalised_score(returns, random, reference, name).tolist()
    return found


def rows(environments: dict[str, Entry]) -> list[Row]:
    """Medians over environments by episode, and the number that reach 80 % in the mean of all episodes."""
    table = []
    for label in CONTENDERS:
        curves = np.array([entry[label] for entry in environments.values() if label in entry])
        if not len(curves):
            continue
        phases = {
            f"episodes {first} to {min(last, curves.shape[1])}": float(np.median(curves[:, first - 1 : last].mean(1)))
            for first, last in PHASES
            if first <= curves.shape[1]
        }
        solved = int((curves.mean(1) >= 0.8).sum())
        table.append({"contender": label, "environments": len(curves), "at 80 %": solved, **phases})
    return table


def draw(environments: dict[str, Entry], path: Path) -> None:
    """Draws the median score by episode, with the middle half of the environments."""
    with png_figure(path, (7, 4), dpi=130) as figure:
        axes = figure.subplots()
        for label in CONTENDERS:
            curves = np.array([entry[label] for entry in environments.values() if label in entry])
            if len(curves):
                episodes = np.arange(1, curves.shape[1] + 1)
                low, middle, high = np.percentile(curves, [25, 50, 75], axis=0)
                (line,) = axes.plot(episodes, middle, label=f"{label} ({len(curves)} environments)")
                axes.fill_between(episodes, low, high, alpha=0.15, color=line.get_color())
        axes.axhline(0, color="grey", linewidth=0.5)
        axes.axhline(1, color="grey", linewidth=0.5)
        axes.set(xlabel="episode in one stream", ylabel="score (0 random, 1 reference)", ylim=(-0.5, 1.3))
        axes.legend(loc="lower right")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", required=True, help="folder or Hub id of a pretrained LDM")
    made.add_argument("--ids", required=True, help="held-out environments, separated by commas")
    made.add_argument("--dataset", required=True, help="folder of the trajectories that the model was trained on")
    made.add_argument(
        "--references", default="model_cards/ldm-reference-policies", help="folder of learned references"
    )
    made.add_argument("--episodes", type=int, default=50, help="number of consecutive episodes")
    made.add_argument("--lanes", type=int, default=2, help="number of parallel streams")
    made.add_argument("--looked-up", type=int, default=20_000, help="most observations that retrieval searches")
    made.add_argument("--jobs", type=int, default=1, help="number of processes")
    args = made.parse_args()
    options = {name: value for name, value in vars(args).items() if name != "json"}
    found = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    same = identity(args)
    known = found["results"] if found.get("identity") == same else {}
    failures: dict[str, str] = {}
    tasks = {name: (name, options) for name in args.ids.split(",") if name not in known}
    for name, outcome in tqdm(run_tasks(measure, tasks, args.jobs), total=len(tasks), unit="environment"):
        if isinstance(outcome, LDMError):
            failures[name] = str(outcome)
            continue
        known[name] = outcome
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps({"identity": same, "results": known}))
    if known:
        show(f"Never trained in, {args.episodes} consecutive episodes", rows(known), args)
        if args.json:
            shown = json.loads(args.json.read_text()) | {"identity": same, "results": known, "failures": failures}
            args.json.write_text(json.dumps(shown) + "\n")
            draw(known, args.json.with_suffix(".png"))
    if failures:
        raise SystemExit("\n".join(f"error: {text}" for text in failures.values()))


if __name__ == "__main__":
    main()
