#!/usr/bin/env python
"""What can be said of a model from logs alone, beside what is true of it in the simulators that made the logs.

    python benchmarks/logs.py --work outputs/logs-benchmark --json docs/results/logs.json

In each of three simulators a log of mixed quality is made: half of the episodes by random actions, half by the
reference policy, and nothing says which. New networks learn from it without the last fifth of its episodes:

* plain: they imitate all of it;
* filtered: the better half of the episodes (`--min_return_percentile 50`);
* weighted: all episodes, in proportion to exp(return / (temperature x deviation)) (`--return_temperature 0.5`).

`ldm evaluate --logs` estimates the return of each; the truth is the mean return of episodes on other seeds. What is
finished is in the folder of `--work`, and is not done again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from common import Row, parser, show, sized
from tqdm.auto import tqdm

from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
from ldm_hf.agent import load_model
from ldm_hf.environments import get_spec, make
from ldm_hf.environments.specs import EnvironmentSpec
from ldm_hf.errors import LDMError
from ldm_hf.offline import LogResults, draw_logs, evaluate_logs, logs_report
from ldm_hf.references import load_reference
from ldm_hf.rollouts import (
    HELD_OUT_SEED,
    AgentPolicy,
    Policy,
    RandomPolicy,
    ReferencePolicy,
    normalised_score,
    rollout,
)
from ldm_hf.spaces import space_to_json, stack
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter
from ldm_hf.utils.figures import png_figure
from ldm_hf.utils.files import read_json, save_json
from ldm_hf.utils.tables import markdown_table

FINETUNE = Path(__file__).parents[1] / "examples" / "finetune.py"
SIMULATORS = ["BaseStock-v0", "HomeBattery-v0", "StocksTrending-v0"]
LEARNERS: dict[str, list[str]] = {
    "plain": [],
    "filtered": ["--min_return_percentile", "50"],
    "weighted": ["--return_temperature", "0.5"],
}
TEST = "0.2"


def write_log(spec: EnvironmentSpec, folder: Path, episodes: int, seed: int) -> None:
    """Logs episodes of random actions and of the reference policy in random order; the actions are the labels."""
    env, rng = make(spec), np.random.default_rng(seed)
    reference = load_reference(spec, Path("outputs/references"))
    info = EnvironmentInfo(
        name=spec.name,
        env_id=spec.env_id,
        observation_space=space_to_json(env.observation_space),
        action_space=space_to_json(env.action_space),
        task=spec.task or "",
        domain=spec.domain,
        reference="half random, half reference",
    )
    env.action_space.seed(seed)
    with TrajectoryWriter(folder, info) as writer:
        for number, at_random in enumerate(tqdm(rng.permutation(episodes) % 2 == 0, desc=spec.name)):
            observation, facts = env.reset(seed=seed + number)
            reference.reset(env)
            observations, actions, rewards, over = [], [], [], False
            while not over:
                action = env.action_space.sample() if at_random else reference.act(env, observation, facts)
                observations.append(observation)
                actions.append(action)
                observation, reward, terminated, truncated, facts = env.step(action)
                rewards.append(reward)
                over = terminated or truncated
            done = stack(env.action_space, actions)
            ends = np.arange(len(rewards)) == len(rewards) - 1
            writer.write(
                {
                    "observation": stack(env.observation_space, observations),
                    "action": done,
                    "label": done,
                    "reward": np.array(rewards, np.float32),
                    "terminated": ends & terminated,
                    "truncated": ends & (not terminated),
                    "behaviour": "logged",
                    "seed": seed + number,
                }
            )


def start(args: argparse.Namespace) -> Path:
    """A small network with new weights."""
    folder = args.work / "new"
    if not (folder / "model.safetensors").exists():
        config = sized(args.hidden, args.layers, args.window)
        torch.manual_seed(args.seed)
        LDMForActionPrediction(config).save_pretrained(folder)
        LDMProcessor.from_config(config).save_pretrained(folder)
    return folder


def train(args: argparse.Namespace, name: str, learner: str) -> Path:
    """A model that has learned from the log."""
    output = args.work / "models" / f"{name}-{learner}"
    if not (output / "training.json").exists():
        options = {
            "model": start(args),
            "dataset": args.work / "logs",
            "environments": name,
            "output_dir": output,
            "test_episodes": TEST,
            "learning_rate": 2e-3,
            "max_steps": args.updates,
            "batch_size": args.batch_size,
            "cpu_threads": args.threads,
            "seed": args.seed,
            "resume_from_checkpoint": "latest",
        }
        flags = [str(part) for option, value in options.items() for part in (f"--{option}", value)]
        command = [sys.executable, str(FINETUNE), *flags, *LEARNERS[learner]]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise LDMError(f"{output}: {result.stderr[-2000:]}")
    return output


def judge(args: argparse.Namespace, name: str, learner: str) -> LogResults:
    """What `ldm evaluate --logs` says of a model."""
    model = train(args, name, learner)
    if not (model / "logs.json").exists():
        results, judged = evaluate_logs(model, args.work / "logs", [name], progress=False)
        draw_logs(judged[name], model / f"logs-{name}.png")
        (model / "logs.md").write_text(logs_report(results, {name: f"logs-{name}.png"}), encoding="utf-8")
        save_json(results, model / "logs.json")
    found: LogResults = read_json(model / "logs.json")
    return found


def play(args: argparse.Namespace, spec: EnvironmentSpec, who: str) -> list[float]:
    """Returns of episodes in the simulator."""
    path = args.work / "true" / f"{spec.name}-{who}.json"
    if not path.exists():
        policy: Policy
        if who == "random":
            policy = RandomPolicy()
        elif who == "reference":
            policy = ReferencePolicy(lambda: load_reference(spec, Path("outputs/references")))
        else:
            model, processor = load_model(train(args, spec.name, who))
            policy = AgentPolicy(
                lambda pair, lanes: LDMAgent(model, processor, pair, environment=spec.name, num_envs=lanes)
            )
        returns = rollout(lambda: make(spec), policy, args.episodes, HELD_OUT_SEED, num_envs=20, name=spec.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(returns.tolist()), encoding="utf-8")
    return list(json.loads(path.read_text(encoding="utf-8")))


def rows_of(args: argparse.Namespace) -> list[Row]:
    """A row for each simulator and learner."""
    rows: list[Row] = []
    tasks = [(name, learner) for name in args.simulators for learner in LEARNERS]
    if args.finished:
        tasks = [task for task in tasks if (args.work / "models" / "-".join(task) / "logs.json").exists()]
    for name, learner in tqdm(tasks, unit="model"):
        spec = get_spec(name)
        if not (args.work / "logs" / name / "environment.json").exists():
            write_log(spec, args.work / "logs", args.logged, args.seed)
        told = judge(args, name, learner)["environments"][name]
        off_policy = told["off_policy"]
        assert off_policy is not None
        random, reference, truth = (np.array(play(args, spec, who)) for who in ("random", "reference", learner))
        robust, support = off_policy["doubly_robust"], off_policy["support"]
        element = next(iter(told["elements"].values()))
        rows.append(
            {
                "simulator": name,
                "cloning": learner,
                "logged": off_policy["logged"]["mean"],
                "fitted Q": off_policy["fitted_q"]["mean"],
                "doubly robust": robust and robust["mean"],
                "truth": truth.mean(),
                "± 95 %": 1.96 * truth.std() / np.sqrt(len(truth)),
                "error of fitted Q": off_policy["fitted_q"]["mean"] - truth.mean(),
                "error of doubly robust": robust and robust["mean"] - truth.mean(),
                "steps with support": support and support["steps"],
                "effective episodes": support and support["effective"],
                "score": normalised_score(truth.mean(), random.mean(), reference.mean(), name),
                "random": random.mean(),
                "reference": reference.mean(),
                "measure": element["measure"],
                **{who: estimate["mean"] for who, estimate in element["contenders"].items()},
            }
        )
    return rows


def draw(rows: list[Row], path: Path) -> None:
    """Draws estimates against the truth, one panel per simulator."""
    names = list(dict.fromkeys(str(row["simulator"]) for row in rows))
    with png_figure(path, (4 * len(names), 3.8), dpi=100) as figure:
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            mine = [row for row in rows if row["simulator"] == name]
            for kind, marker in (("fitted Q", "o"), ("doubly robust", "x")):
                points = [(row["truth"], row[kind]) for row in mine if row[kind] is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), marker, label=kind)
            for row in mine:
                axes.annotate(f" {row['cloning']}", (row["truth"], row["fitted Q"]), fontsize=8)
            ends = [value for row in mine for value in (row["truth"], row["fitted Q"], row["reference"])]
            axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="0.6", linewidth=0.8)
            axes.axhline(mine[0]["logged"], color="0.6", linestyle=":", label="as logged")
            axes.set(title=name, xlabel="true return", ylabel="estimate from the log")
            axes.legend(frameon=False, fontsize=8)


PAGE = """# Models judged by logs alone

What [`ldm evaluate --logs`](../logged-decisions.md#judge-a-model-on-the-log) says of a model, beside what is true
of it in the simulator that made the log. Each log has {logged} episodes, half of random actions, half of the
reference policy, in random order, and nothing says which. New networks of {parameters} weights learned from the
first four fifths (at most {updates} updates, one seed); the last fifth is the test. The truth is the mean return of
{episodes} episodes on other seeds; the score is 0 for random actions and 100 % for the reference.

`{command}`

## Estimates and truth

{estimates}

Errors are in per cent of the distance between random actions and the reference. Support: steps of an episode in
which the doubly robust estimate had episodes to go by, and how many test episodes were effective then. Where
actions are numbers there is none.

![estimates by true return]({picture})

## Cloning a log of mixed quality

True scores and standard errors over episodes. Plain: all episodes alike; filtered: the better half
(`--min_return_percentile 50`); weighted: all in proportion to exp(return / (0.5 × deviation))
(`--return_temperature 0.5`).

{cloning}

## Agreement with the log

Of the first action element in the test episodes: share of equal choices, or mean absolute error. Half of these
actions are random, which nobody can foresee.

{agreement}
"""


def page(rows: list[Row], args: argparse.Namespace, picture: str) -> str:
    """The results as a page of the documentation."""

    def share(row: Row, name: str) -> str:
        value = row[name]
        return "" if value is None else f"{100 * value / (row['reference'] - row['random']):+.1f} %"

    def number(row: Row, name: str) -> str:
        return "" if row[name] is None else f"{row[name]:,.4g}"

    estimates = []
    scores: dict[str, dict[str, str]] = {}
    for row in rows:
        support = ""
        if row["steps with support"] is not None:
            support = f"{row['steps with support']}, {row['effective episodes']:.0f}"
        estimates.append(
            [
                *(str(row[name]) for name in ("simulator", "cloning")),
                *(number(row, name) for name in ("logged", "fitted Q", "doubly robust")),
                f"{number(row, 'truth')} ± {row['± 95 %']:.2g}",
                *(share(row, f"error of {name}") for name in ("fitted Q", "doubly robust")),
                support,
            ]
        )
        error = row["± 95 %"] / 1.96 / (row["reference"] - row["random"])
        cells = scores.setdefault(str(row["simulator"]), dict.fromkeys(LEARNERS, ""))
        cells[str(row["cloning"])] = f"{100 * row['score']:.1f} ± {100 * error:.1f} %"
    titles = ["simulator", "cloning", "as logged", "fitted Q", "doubly robust", "truth"]
    titles += ["error of fitted Q", "of doubly robust", "support"]
    contenders = list(rows[0])[list(rows[0]).index("measure") + 1 :]
    agreement = [
        [
            *(str(row[name]) for name in ("simulator", "cloning", "measure")),
            *(f"{100 * row[who]:.1f} %" if row["measure"] == "agreement" else f"{row[who]:.3f}" for who in contenders),
        ]
        for row in rows
    ]
    return PAGE.format(
        logged=args.logged,
        parameters=f"{load_model(args.work / 'new')[0].config.num_parameters:,}",
        updates=args.updates,
        episodes=args.episodes,
        command=shlex.join(["python", "benchmarks/logs.py", *sys.argv[1:]]),
        estimates=markdown_table(titles, estimates, right=titles[2:]),
        picture=picture,
        cloning=markdown_table(["simulator", *LEARNERS], [[name, *cells.values()] for name, cells in scores.items()]),
        agreement=markdown_table(["simulator", "cloning", "measure", *contenders], agreement, right=contenders),
    )


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--work", type=Path, required=True, help="folder for logs, models and measurements")
    made.add_argument("--simulators", nargs="+", default=SIMULATORS, help="names in the catalogue")
    made.add_argument("--finished", action="store_true", help="show the models that are finished, and go no further")
    made.add_argument("--logged", type=int, default=300, help="episodes of each log")
    made.add_argument("--episodes", type=int, default=100, help="episodes that the truth is measured with")
    made.add_argument("--updates", type=int, default=600, help="most training updates")
    made.add_argument("--batch-size", type=int, default=16, help="segments per update")
    made.add_argument("--hidden", type=int, default=64, help="hidden size")
    made.add_argument("--layers", type=int, default=2, help="number of layers")
    made.add_argument("--window", type=int, default=8, help="attention window in steps")
    made.add_argument("--seed", type=int, default=0, help="seed of logs and training")
    args = made.parse_args()
    rows = rows_of(args)
    show("Logs of mixed quality: estimates and truth", rows, args)
    if args.json:
        picture = args.json.with_suffix(".png")
        draw(rows, picture)
        args.json.with_suffix(".md").write_text(page(rows, args, picture.name), encoding="utf-8")


if __name__ == "__main__":
    main()
