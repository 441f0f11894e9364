#!/usr/bin/env python
"""Overhead of collection: steps per second of bare environments, with labels, and with everything recorded and written.

python benchmarks/collection.py --json outputs/benchmarks/collection.json

"bare" replays the actions; "labelled" also asks the reference policy at every step, which no collection with labels can
avoid. "kept" only appends the label, the action, a copy of the observation and the reward to lists: no collection that
is written in Python can be faster.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from common import Row, cpu_seconds, parser, show

from ldm_hf.collection import Plan
from ldm_hf.collection.actors import Perturbed
from ldm_hf.collection.collecting import environment_info, open_lanes
from ldm_hf.collection.journal import Journal
from ldm_hf.collection.keeping import Keeper
from ldm_hf.collection.recording import LabelledLane, record
from ldm_hf.environments import get_spec
from ldm_hf.references import load_reference
from ldm_hf.spaces import Action, unflatten, unstack
from ldm_hf.trajectories import TrajectoryWriter
from ldm_hf.trajectories.schema import Episode

Replayed = list[tuple[int, list[Action]]]
"""Seed and actions of each episode."""

GOAL = 0.9
ROUNDS = 3
NAMES = [
    *(
        "CartPole-v1",
        "Pendulum-v1",
        "LunarLander-v3-short",
        "FrozenLake-v1",
        "Taxi-v4-short",
        "BaseStock-v0",
        "StocksTrending-v0",
    ),
    *("HomeBattery-v0", "nasim-tiny", "popgym-RepeatPreviousEasy-v0", "MinAtar-Freeway", "BabyAI-GoToRedBall-v0"),
    *("BabyAI-GoToRedBallNoDists-pixels", "metaworld-reach-v3", "metaworld-window-close-v3"),
]


def keep(lane: LabelledLane, episodes: Replayed) -> None:
    """The least that a collection has to do: `replay` with labels, and everything appended to lists."""
    env, reference = lane.env, lane.reference
    kept: tuple[list[object], ...] = ([], [], [], [])
    labels, executed, observations, rewards = (values.append for values in kept)
    for seed, actions in episodes:
        observation, info = env.reset(seed=seed)
        reference.reset(env)
        for action in actions:
            labels(reference.act(env, observation, info))
            executed(action)
            observations(observation.copy() if isinstance(observation, np.ndarray) else observation)
            observation, reward, _, _, info = env.step(action)
            rewards(reward)
        for values in kept:
            values.clear()


def replay(lane: LabelledLane, episodes: Replayed, label: bool) -> None:
    """Steps the environment through recorded actions in a plain loop; ``label`` asks the reference at every step."""
    env, reference = lane.env, lane.reference
    for seed, actions in episodes:
        observation, info = env.reset(seed=seed)
        reference.reset(env)
        for action in actions:
            if label:
                reference.act(env, observation, info)
            observation, _, _, _, info = env.step(action)


def compare(name: str, references: str, budget: float, most: int) -> Row:
    """All contenders in the same episodes of one environment, in turns."""
    spec = get_spec(name)
    lanes = open_lanes(spec, lambda: load_reference(spec, references), several=False)
    info = environment_info(spec, lanes[0], Plan("nowhere", references), {}, None)

    def collect(steps: int) -> list[Episode]:
        episodes = []
        with (
            tempfile.TemporaryDirectory() as folder,
            Journal(Path(folder) / info.name) as journal,
            TrajectoryWriter(folder, info) as writer,
            Keeper(writer, journal, 0) as keeper,
        ):
            for episode in record(lanes, Perturbed(), 0, steps):
                keeper.add(episode)
                episodes.append(episode)
        return episodes

    collect(1)  # triggers late imports
    rate = 200 / max(cpu_seconds(lambda: collect(200)), 1e-6)
    steps = most if len(lanes) > 1 else min(most, max(200, int(rate * budget / ROUNDS)))
    recorded = collect(steps)
    count = sum(len(episode["reward"]) for episode in recorded)
    space = lanes[0].env.action_space
    episodes = [
        (episode["seed"], unstack(space, unflatten(space, episode["action"]), len(episode["reward"])))
        for episode in recorded
    ]
    contenders = {
        "bare": lambda: replay(lanes[0], episodes, label=False),
        "labelled": lambda: replay(lanes[0], episodes, label=True),
        "kept": lambda: keep(lanes[0], episodes),
        "collected": lambda: collect(steps),
    }
    turns = [{contender: cpu_seconds(work) for contender, work in contenders.items()} for _ in range(ROUNDS)]
    times = {contender: float(np.median([turn[contender] for turn in turns])) for contender in contenders}
    for lane in lanes:
        lane.env.close()
    return {
        "environment": name,
        "reference": lanes[0].reference.method,
        "lanes": len(lanes),
        **{contender: count / seconds for contender, seconds in times.items()},
        "kept of bare": times["bare"] / times["kept"],
        "of bare": times["bare"] / times["collected"],
        "of labelled": times["labelled"] / times["collected"],
        "of kept": times["kept"] / times["collected"],
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--ids", nargs="+", default=NAMES, help="environments")
    made.add_argument("--references", default="outputs/references", help="folder of trained reference policies")
    made.add_argument(
        "--seconds", type=float, default=2.0, help="approximate time of each contender in each environment"
    )
    made.add_argument("--steps", type=int, default=5_000, help="most steps in a turn")
    args = made.parse_args()
    rows = [compare(name, args.references, args.seconds, args.steps) for name in args.ids]
    notes = [
        f"{GOAL:.0%} or more of {what}: {sum(row[f'of {what}'] >= GOAL for row in rows)} of {len(rows)} environments"
        for what in ("bare", "labelled", "kept")
    ]
    possible = sum(row["kept of bare"] >= GOAL for row in rows)
    notes.append(f"{GOAL:.0%} or more of bare with nothing but lists: {possible} of {len(rows)} environments")
    show("Collection: steps per second of CPU time, in the same episodes", rows, args, notes)


if __name__ == "__main__":
    main()
