#!/usr/bin/env python
"""Does a model get better by itself while it plays? Scores by episode in one stream, in environments never trained in.

    python benchmarks/adaptation.py --model model_cards/ldm-nano --work outputs/adaptation \\
        --json docs/results/adaptation.json --minutes 120

Environments: `adaptation.yaml`, in four groups. In *hidden rules* each stream has a disguise of its own (actions,
coordinates, symbols permuted, mirrored or scaled, see `ldm_hf.environments.Disguise`) or other numbers of one world.
Contenders, all greedy, with the task text and without the name of the environment:

* ``by_episode``: the model, whose history goes on through the episodes of a stream;
* ``no_history``: the same network, which sees only the current observation;
* ``nearest``: the label of the nearest of ``--looked-up`` observations of up to four environments that the model was
  trained in and that have the same spaces, as a disguise leaves them; empty where there are none;
* ``shown_1``: the model that was shown one episode of the reference in its stream's own environment, mean of
  ``--after`` episodes;
* ``oracle``: what is left to win where the rule is a disguise: the model that is told it, which is the model in the
  environment without the disguise, in as many episodes of the same seeds. Empty elsewhere. Where a rule is numbers, the
  reference of these numbers is the oracle, 1 by definition; the model after ``examples/finetune.py`` on trajectories of
  this very row would be another one, which is not measured here.

Score: 0 random actions, 1 reference; mean over streams. ``improved`` counts environments in which episodes 11 to 20
(or the last half of fewer) are better than the first three by a one-sided Mann-Whitney test at 95 % over episodes of
all streams, which are not independent within a stream. Measured environments are in the JSON file and are not repeated
as long as model and options are the same; with ``--minutes`` no other is begun after that time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from common import parser
from retrieval import Retrieval
from scipy.stats import mannwhitneyu
from tqdm.auto import tqdm
from unseen import WithoutHistory, ends

from ldm_hf import LDMAgent
from ldm_hf.agent import loaded_model, make_agent
from ldm_hf.collection import Plan, collect
from ldm_hf.collection.actors import Perturbed
from ldm_hf.collection.recording import LabelledLane, record
from ldm_hf.environments import Disguise, EnvironmentSpec, get_spec, make
from ldm_hf.errors import LDMError
from ldm_hf.evaluation.evaluating import model_fingerprint
from ldm_hf.references import load_reference
from ldm_hf.rollouts import HELD_OUT_SEED, AgentPolicy, Policy, normalised_score, rollout
from ldm_hf.rollouts.lane import Lane
from ldm_hf.spaces import space_to_json, stack
from ldm_hf.trajectories import open_dataset
from ldm_hf.trajectories.schema import Episode
from ldm_hf.utils.figures import png_figure
from ldm_hf.utils.files import read_yaml, write_atomically

FIXED = Path(__file__).with_suffix(".yaml")
CONTENDERS = ("by_episode", "no_history", "nearest", "shown_1", "oracle")
GROUPS = ("hidden_rules", "relatives", "families", "libraries")
NEIGHBOURS = 4  # environments to look up in
Entry = dict[str, Any]


@dataclass
class World:
    """The environment of one stream.

    Args:
        spec: row of the catalogue.
        disguise: what is disguised; None: nothing.
        seed: seed of the disguise.
    """

    spec: EnvironmentSpec
    disguise: Any = None
    seed: int = 0

    def make(self) -> gymnasium.Env:
        """The environment as the model meets it."""
        env = make(self.spec)
        return env if self.disguise is None else Disguise(env, self.seed, self.disguise)

    def changes(self) -> bool:
        """Whether the disguise changes anything that it is meant to change."""
        env = self.make()
        assert isinstance(env, Disguise)
        parts = ((env.disguise.observations, env.env.observation_space), (env.disguise.actions, env.env.action_space))
        chosen = {"observations": parts[:1], "actions": parts[1:], "both": parts}[self.disguise]
        found = []
        for disguise, space in chosen:
            space.seed(0)
            plain = stack(space, [space.sample() for _ in range(50)])
            found.append(any((disguise.apply(plain)[path] != values).any() for path, values in plain.items()))
        env.close()
        return all(found)

    def demonstration(self, references: str) -> Episode:
        """An episode of the reference, as this stream would have seen it."""
        env = make(self.spec)
        lane = LabelledLane(env, load_reference(self.spec, references), self.spec.name)
        episode = next(record([lane], Perturbed((0.0,)), 0, target=1))
        lane.close()
        if self.disguise is None:
            return episode
        disguised = self.make()
        assert isinstance(disguised, Disguise)
        found: Any = episode | disguised.disguise.steps(episode)
        disguised.close()
        return found


class Shown(AgentPolicy):
    """An agent that is shown an episode in each lane before it begins."""

    def __init__(self, make_agent: Any, episodes: Sequence[Episode]) -> None:
        super().__init__(make_agent)
        self.episodes = episodes

    def start(self, lanes: list[Lane]) -> None:
        super().start(lanes)
        for lane, episode in enumerate(self.episodes):
            self.agent.show(episode, [lane])


def worlds_of(told: Entry | str, streams: int) -> list[World]:
    """The environments of all streams of an entry of the file."""
    if isinstance(told, str):
        return [World(get_spec(told))] * streams
    specs = [get_spec(name) for name in told["rows"]]
    if "disguise" not in told:
        return [World(specs[number % len(specs)]) for number in range(streams)]
    drawn = (World(specs[0], told["disguise"], seed) for seed in itertools.count())
    return list(itertools.islice((world for world in drawn if world.changes()), streams))


def neighbours(args: argparse.Namespace, world: World) -> list[str]:
    """Environments that the model was trained in and that have these spaces, the same family first."""
    processor = loaded_model(str(args.model))[1]
    env = make(world.spec)
    wanted = space_to_json(env.observation_space), space_to_json(env.action_space)
    env.close()
    known = processor.environments.items()
    found = [name for name, entry in known if (entry["observation_space"], entry["action_space"]) == wanted]
    return sorted(found, key=lambda name: (get_spec(name).family != world.spec.family, name))[:NEIGHBOURS]


def measure(args: argparse.Namespace, name: str, worlds: list[World]) -> Entry:
    """Scores of all contenders in one environment."""
    model, processor = loaded_model(str(args.model))
    first = worlds[0].spec
    scales = [ends(world.spec, args.references) for world in worlds]

    agents: dict[str, LDMAgent] = {}  # compiling one takes longer than many an episode

    def agent(pair: tuple[gymnasium.Space, gymnasium.Space], lanes: int) -> LDMAgent:
        key = json.dumps([lanes, *map(space_to_json, pair)])
        if key not in agents:
            options = {"num_envs": lanes, "compile": args.compile}
            agents[key] = make_agent(model, processor, None, first.task or None, pair, **options)
        agents[key].reset()
        return agents[key]

    def play(policy: Policy, episodes: int, worlds: list[World] = worlds) -> np.ndarray:
        """Scores ``(episodes, streams)``."""
        made = iter(worlds)
        count = episodes * len(worlds)
        returns = rollout(lambda: next(made).make(), policy, count, HELD_OUT_SEED, len(worlds), name)
        lanes = returns.reshape(episodes, len(worlds)).T
        scores = (normalised_score(lane, *scale, name) for lane, scale in zip(lanes, scales, strict=True))
        return np.stack(list(scores), 1)

    curve = play(AgentPolicy(agent), args.episodes)
    told = [replace(world, disguise=None) for world in worlds if world.disguise is not None]
    shown = play(Shown(agent, [world.demonstration(args.references) for world in worlds]), args.after)
    found: Entry = {
        "by_episode": curve.mean(1).tolist(),
        "streams": curve.T.tolist(),
        "no_history": play(WithoutHistory(agent), args.plain).mean(1).tolist(),
        "nearest": [],
        "shown_1": float(shown.mean()),
        "oracle": play(AgentPolicy(agent), args.episodes, told).mean(1).tolist() if told else [],
        "library": first.library,
        "family": first.family,
    }
    if near := neighbours(args, worlds[0]):
        plan = Plan(str(args.work / "trajectories"), args.references, steps=args.looked_up)
        failed = collect([get_spec(each) for each in near], plan, progress=False)
        streams = list(open_dataset(plan.folder, [each for each in near if each not in failed]).values())
        found["nearest"] = play(Retrieval(streams, args.looked_up), args.plain).mean(1).tolist()
    return found


def improves(streams: Sequence[Sequence[float]]) -> bool:
    """Whether later episodes are better than the first three, see above."""
    scores = np.array(streams)
    half = min(10, scores.shape[1] // 2)
    late = scores[:, half : min(20, scores.shape[1])]
    if np.ptp(scores) == 0 or scores.shape[1] < 6:
        return False
    return bool(mannwhitneyu(late.ravel(), scores[:, :3].ravel(), alternative="greater").pvalue < 0.05)


def summary(environments: dict[str, Entry]) -> Entry:
    """Medians and quartiles over the environments of a group."""
    curves = np.array([entry["by_episode"] for entry in environments.values()])
    quartiles = np.percentile(curves, [25, 50, 75], axis=0)
    oracles = [entry["oracle"] for entry in environments.values() if entry["oracle"]]
    return {
        "median_episode_1": float(quartiles[1, 0]),
        "median_episode_20": float(quartiles[1, 19]) if curves.shape[1] >= 20 else None,
        "improved": sum(improves(entry["streams"]) for entry in environments.values()),
        "n": len(curves),
        "at_least_80": int((curves.mean(1) >= 0.8).sum()),
        "quartiles": quartiles.tolist(),
        "oracle": np.median(oracles, axis=0).tolist() if oracles else [],
        **{
            f"median_{name}": float(np.median([np.mean(values) for values in found]))
            for name in CONTENDERS[1:]
            if (found := [entry[name] for entry in environments.values() if entry[name] != []])
        },
    }


def draw(groups: dict[str, Entry], path: Path) -> None:
    """Draws the median score of each group by episode, with the middle half of the environments."""
    with png_figure(path, (7, 4), dpi=130) as figure:
        axes = figure.subplots()
        for name, group in groups.items():
            low, middle, high = group["summary"]["quartiles"]
            episodes = np.arange(1, len(middle) + 1)
            (line,) = axes.plot(episodes, middle, label=f"{name.replace('_', ' ')} ({group['summary']['n']})")
            axes.fill_between(episodes, low, high, alpha=0.12, color=line.get_color())
            if oracle := group["summary"]["oracle"]:
                axes.plot(episodes, oracle, "--", label="their oracle", color=line.get_color())
        axes.set(xlabel="episode in one stream", ylabel="score (0 random, 1 reference)", ylim=(-0.5, 1.3))
        axes.axhline(0, color="grey", linewidth=0.5)
        axes.axhline(1, color="grey", linewidth=0.5)
        axes.legend(loc="lower right")


def identity(args: argparse.Namespace) -> dict[str, object]:
    """All that decides the results, apart from the environments."""
    options = {name: getattr(args, name) for name in ("episodes", "plain", "after", "streams", "looked_up")}
    return options | {"contenders": list(CONTENDERS), "model": model_fingerprint(*loaded_model(str(args.model)))}


def held_out(fixed: Entry) -> list[str]:
    """Names of all rows that no model may be trained in, sorted."""
    rules = (rule["rows"] for rule in fixed["hidden_rules"] if not rule.get("trained"))
    return sorted({*itertools.chain(fixed["relatives"], fixed["families"], fixed["libraries"], *rules)})


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", required=True, help="folder or Hub id of a pretrained LDM")
    made.add_argument("--work", type=Path, default=Path("outputs/adaptation"), help="folder for data to look up in")
    made.add_argument("--environments", type=Path, default=FIXED, help="file of the environments")
    made.add_argument("--references", default="model_cards/ldm-reference-policies", help="folder of references")
    made.add_argument("--episodes", type=int, default=50, help="consecutive episodes of a stream")
    made.add_argument("--plain", type=int, default=20, help="episodes without history, and by look-up")
    made.add_argument("--after", type=int, default=5, help="episodes after one was shown")
    made.add_argument("--streams", type=int, default=3, help="number of streams, played together")
    made.add_argument("--looked-up", type=int, default=2000, help="most observations to look up in")
    made.add_argument("--compile", action="store_true", help="act by onnxruntime (extra onnx), several times as fast")
    made.add_argument("--minutes", type=float, default=float("inf"), help="time after which none is begun")
    made.add_argument("--held-out", action="store_true", help="print what no model may be trained in, and end")
    args = made.parse_args()
    fixed, started = read_yaml(args.environments), time.monotonic()
    if args.held_out:
        print("\n".join(held_out(fixed)))
        return
    torch.set_num_threads(args.threads)
    if trained := {*held_out(fixed)} & {*loaded_model(str(args.model))[1].environments}:
        raise SystemExit(f"error: {args.model} was trained in {', '.join(sorted(trained))}")
    found = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    same = identity(args)
    groups = found["groups"] if found.get("identity") == same else {}
    failures: dict[str, str] = {}
    columns = [[(group, told) for told in fixed[group]] for group in GROUPS]
    entries = [entry for row in itertools.zip_longest(*columns) for entry in row if entry is not None]
    command = shlex.join(["benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]])
    for group, told in tqdm(entries, unit="environment"):
        name = told if isinstance(told, str) else told["name"]
        environments = groups.setdefault(group, {"environments": {}})["environments"]
        if name in environments or time.monotonic() - started >= 60 * args.minutes:
            continue
        try:
            environments[name] = measure(args, name, worlds_of(told, args.streams))
        except LDMError as error:
            failures[name] = str(error)
            continue
        groups[group]["summary"] = summary(environments)
        if args.json:
            data = {"command": command, "model": str(args.model), "identity": same, "groups": groups}
            write_atomically(args.json, json.dumps(data | {"failures": failures}) + "\n")
    told = {name: group for name, group in groups.items() if "summary" in group}
    for name, group in told.items():
        print(name, {key: value for key, value in group["summary"].items() if key not in ("quartiles", "oracle")})
    if args.json and told:
        draw(told, args.json.with_suffix(".png"))
    print("\n".join(f"{name}: {text}" for name, text in failures.items()))


if __name__ == "__main__":
    main()
